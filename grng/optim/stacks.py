"""Units of one shape, stepped together: on small layers the calls cost more than the arithmetic.

A stack of layers is a layer with so many times the groups: factors, inverses and eigenbases one behind the other in
the first dimension, which is how `grng.curvature` has groups and blocks already.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from grng.curvature.layout import join_matrix
from grng.optim.units import Unit

# entries of a layer's A and G above which it is stepped alone: to put its inverses beside others would cost more than
# the calls that it saves
SMALL = 2**17


@dataclass(frozen=True, slots=True)
class Stack:
    """Units of one kind and shape."""

    units: tuple[Unit, ...]

    def gather(self, values: Mapping[nn.Parameter, Tensor]) -> Tensor:
        """Return what belongs to the parameters as one tensor.

        `[units · groups, out/groups, features]` of layers, the bias behind; else `[units, *shape]`.
        """
        first = self.units[0]
        if first.layer is None:
            return torch.stack([values[unit.key] for unit in self.units])
        groups, bias = first.layer.groups, first.layer.bias is not None
        if len(self.units) == 1:
            return join_matrix(values[first.key], values[first.parameters[1]] if bias else None, groups)
        weights = torch.stack([values[unit.key] for unit in self.units])
        matrix = weights.reshape(len(self.units) * groups, first.layer.output_size, -1)
        if not bias:
            return matrix
        biases = torch.stack([values[unit.parameters[1]] for unit in self.units])
        return torch.cat([matrix, biases.reshape(*matrix.shape[:2], 1)], dim=2)

    def scatter(self, values: Tensor) -> dict[nn.Parameter, Tensor]:
        """Undo `gather`: views of `values`."""
        first, count = self.units[0], len(self.units)
        if first.layer is None:
            return dict(zip((unit.key for unit in self.units), values.unbind(), strict=True))
        bias = first.layer.bias is not None
        weights = (values[:, :, :-1] if bias else values).reshape(count, *first.layer.weight.shape)
        found = dict(zip((unit.key for unit in self.units), weights.unbind(), strict=True))
        if bias:
            biases = values[:, :, -1].reshape(count, -1)
            found |= zip((unit.parameters[1] for unit in self.units), biases.unbind(), strict=True)
        return found

    def rows(self, values: Tensor) -> Sequence[Tensor]:
        """Return what belongs to every unit as a vector: views of `values`."""
        return values.reshape(len(self.units), -1).unbind()


def stacked(
    units: Sequence[Unit], states: MutableMapping[Any, Any], vectors: Mapping[nn.Parameter, Tensor]
) -> list[Stack]:
    """Put units of one kind together: layers of one shape with the same form of curvature, or tensors of one shape."""
    found: dict[object, list[Unit]] = {}
    for number, unit in enumerate(units):
        vector = vectors[unit.key]
        kind = _kind(unit, states[unit.key])
        found.setdefault(number if kind is None else (*kind, vector.dtype, vector.device), []).append(unit)
    return [Stack(tuple(members)) for members in found.values()]


def _kind(unit: Unit, state: Mapping[str, Any]) -> tuple[object, ...] | None:
    """Return what units of a stack have in common; None for a unit that is stepped alone."""
    layer = unit.layer
    if layer is None:
        return unit.key.shape, "fisher" in state
    if layer.input_size**2 + layer.output_size**2 > SMALL:
        return None
    form = [(key, state[key].dtype) for key in ("G_inverse", "G_vectors", "eigenvalues") if key in state]
    blocks = layer.input_blocks, layer.output_blocks
    return layer.weight.shape, layer.bias is not None, layer.groups, blocks, tuple(form)
