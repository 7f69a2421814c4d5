"""Which parameters are stepped together, and by which rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from grng.curvature.coverage import Coverage, CoverageRow
from grng.curvature.layers import Layer, find_layers

DEFAULT_OTHER_LR = 0.01


@dataclass(frozen=True, slots=True)
class Unit:
    """What is stepped as one: a layer with Kronecker factors, or a single other parameter. `key` holds the state."""

    key: nn.Parameter
    parameters: tuple[nn.Parameter, ...]
    layer: Layer | None = None


@dataclass(frozen=True, slots=True)
class Partition:
    """All units of an optimizer, and for the parameters without Kronecker factors the reason."""

    units: tuple[Unit, ...]
    reasons: Mapping[nn.Parameter, str]

    @property
    def layers(self) -> list[Layer]:
        """The layers with Kronecker factors, in the model's order."""
        return [unit.layer for unit in self.units if unit.layer is not None]

    def split(
        self,
        group: dict[str, Any],
        *,
        other_rule: str,
        other_lr: float | None,
        default_lr: float,
        layer_rule: str = "kronecker",
    ) -> list[dict[str, Any]]:
        """Part a parameter group by rule, so that a scheduler scales the learning rates of both rules alike.

        A group's own lr (layer-wise decay, say) scales `other_lr` by as much as it differs from `default_lr`.
        """
        covered = {p for unit in self.units if unit.layer is not None for p in unit.parameters}
        other = {**group, "rule": other_rule, "params": [p for p in group["params"] if p not in covered]}
        if other_rule == "adamw":
            other["lr"] = scaled_other_lr(group.get("lr", default_lr), other_lr=other_lr, default_lr=default_lr)
        parts = [{**group, "rule": layer_rule, "params": [p for p in group["params"] if p in covered]}, other]
        return [part for part in parts if part["params"]]

    def coverage(self, model: nn.Module, *, other_rule: str, layer_rule: str = "kronecker") -> Coverage:
        """Say for every parameter whether its layer's own rule steps it, and if not, why and by which rule it is."""
        notes = {p: note for unit in self.units for p in unit.parameters if (note := _note(unit.layer))}
        rule = {p: layer_rule if unit.layer is not None else other_rule for unit in self.units for p in unit.parameters}
        return Coverage(
            tuple(
                CoverageRow(name, name.rpartition(".")[0], p.numel(), rule[p], self.reasons.get(p, notes.get(p, "")))
                for name, p in model.named_parameters()
                if p in rule
            ),
            layer_rule,
        )


def _note(layer: Layer | None) -> str:
    if layer is None:
        return ""
    cut = {"A": layer.input_blocks, "G": layer.output_blocks}
    return ", ".join(f"{factor} in {blocks} diagonal blocks" for factor, blocks in cut.items() if blocks > 1)


def scaled_other_lr(lr: float, *, other_lr: float | None, default_lr: float) -> float:
    """Return AdamW's rate where the layers' own is `lr`: scaled by as much as that differs from its default."""
    return (lr / default_lr if default_lr > 0 else 1.0) * (DEFAULT_OTHER_LR if other_lr is None else other_lr)


def partition(
    model: nn.Module,
    held: Sequence[nn.Parameter],
    *,
    max_factor_size: int | None,
    excluded: Mapping[nn.Parameter, str] | None = None,
) -> Partition:
    """Group the held parameters of `model` into units; `excluded` are weights whose layers get no factors, and why."""
    layers, reasons = find_layers(model, set(held), max_factor_size=max_factor_size, excluded=excluded)
    units = [Unit(layer.weight, layer.parameters, layer) for layer in layers]
    covered = {p for unit in units for p in unit.parameters}
    return Partition((*units, *(Unit(p, (p,)) for p in held if p not in covered)), reasons)
