"""One layer's block of the metric: refreshed from its factors, and applied to the vector that is preconditioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grng.curvature.eigenvalues import SquaredGradients, carry_over
from grng.curvature.inverse import NewtonReport
from grng.curvature.kronecker import (
    all_finite,
    precondition_exact,
    precondition_factored,
    refresh_eigenbases,
    refresh_inverses,
)
from grng.curvature.layers import Layer
from grng.curvature.precision import wide_dtype
from grng.optim.fisher import corrected_average, move_averages
from grng.optim.processes import Processes
from grng.optim.settings import KroneckerSettings


def has_inverse(state: dict[str, Any]) -> bool:
    """Whether the block was ever refreshed."""
    return "G_inverse" in state or "G_vectors" in state


def refresh(layer: Layer, state: dict[str, Any], settings: KroneckerSettings) -> tuple[bool, list[NewtonReport]]:
    """Compute inverses (damped by `state["damping"]`) or eigenbases anew; an average of eigenvalues is carried over.

    Returns:
        Whether they are new (else the last good ones stay), and Newton's reports.
    """
    if settings.damping_form == "factored":
        method = "cholesky" if settings.inverse == "auto" else settings.inverse
        return refresh_inverses(state, state["damping"], groups=layer.groups, decay=settings.ema, method=method)
    old_a, old_g = state.get("A_vectors"), state.get("G_vectors")
    good = refresh_eigenbases(state, decay=settings.ema)
    if good and "eigenvalues" in state and old_a is not None and old_g is not None:
        state["eigenvalues"] = carry_over(state["eigenvalues"], old_a, old_g, state["A_vectors"], state["G_vectors"])
    return good, []


def correct_eigenvalues(
    layers: Sequence[Layer],
    states: Sequence[dict[str, Any]],
    squares: Sequence[SquaredGradients | None],
    decay: float,
    processes: Processes,
) -> None:
    """Move the averages of the squared gradients in the present eigenbases, which are the same in all processes."""
    sums = [
        None if one is None else one.sum_square(state["A_vectors"], state["G_vectors"])
        for state, one in zip(states, squares, strict=True)
    ]
    samples = processes.totals(
        [0 if one is None or own is None else one.samples for one, own in zip(squares, sums, strict=True)]
    )
    used = [found for found in zip(layers, states, sums, samples, strict=True) if found[3] > 0]
    totals = processes.summed([_no_squares(layer) if own is None else own for layer, _, own, _ in used])
    means = [total / count for (_, _, _, count), total in zip(used, totals, strict=True)]
    good = [(found[1], mean) for found, mean, ok in zip(used, means, all_finite(means), strict=True) if ok]
    move_averages([state for state, _ in good], "eigenvalues", [mean for _, mean in good], decay)


def _no_squares(layer: Layer) -> Tensor:
    shape = (layer.groups, layer.output_size, layer.input_size)
    return layer.weight.new_zeros(shape, dtype=wide_dtype(layer.weight))


class Joined:
    """Inverses or eigenbases of a stack's layers one behind the other, kept until one of them is another tensor."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, str], tuple[list[Tensor], Tensor]] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return (Joined, ())  # made anew from the state where it is needed

    def of(self, states: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
        """Return what stands under `keys` in a state; of many states, joined in the first dimension."""
        if len(states) == 1:
            return states[0]
        return {key: self._one(key, states) for key in keys if key in states[0]}

    def _one(self, key: str, states: Sequence[dict[str, Any]]) -> Tensor:
        parts: list[Tensor] = [state[key] for state in states]
        place = (id(states[0]), key)  # a guess, which the tensors themselves confirm
        held, joined = self._held.get(place, ([], parts[0]))
        if len(held) != len(parts) or any(old.shape != new.shape for old, new in zip(held, parts, strict=True)):
            joined = torch.cat(parts)
        else:
            ends = zip(held, parts, joined.chunk(len(parts)), strict=True)
            for old, new, slot in ends:
                if old is not new:
                    slot.copy_(new)
        self._held[place] = parts, joined
        return joined


def direction(
    states: Sequence[dict[str, Any]],
    matrix: Tensor,
    settings: KroneckerSettings,
    dampings: Sequence[Tensor],
    joined: Joined,
) -> Tensor:
    """Return −(block)⁻¹ V for one layer, or for layers of one shape as if they were groups of one.

    Args:
        states: The layers' states, all with the same form of curvature.
        matrix: V, `[layers · groups, out, in]`.
        settings: Of the optimizer.
        dampings: λ of every layer, read where the form is the exact one.
        joined: Keeps what is put together.
    """
    if "G_inverse" in states[0]:
        return precondition_factored(joined.of(states, _FACTORED), matrix).neg_()
    if "G_vectors" in states[0]:
        groups = len(matrix) // len(states)
        damping = torch.stack(list(dampings)).repeat_interleave(groups)[:, None, None]
        averages = [corrected_average(state, "eigenvalues", settings.ema) for state in states]
        measured = [average for average in averages if average is not None]
        eigenvalues = torch.cat(measured) if measured else None
        return precondition_exact(joined.of(states, _EXACT), matrix, damping, eigenvalues).neg_()
    return matrix.neg()  # never observed (used outside of the observed outputs): there is no metric but the identity


_FACTORED = ("A_inverse", "G_inverse", "bias_inverse")
_EXACT = ("A_values", "A_vectors", "G_values", "G_vectors")
