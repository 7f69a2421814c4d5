"""One layer's block of the metric: refreshed from its factors, and applied to the vector that is preconditioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from grng.curvature.layout import join_matrix, split_matrix
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


def direction(
    layer: Layer, state: dict[str, Any], vectors: Sequence[Tensor], settings: KroneckerSettings
) -> list[Tensor]:
    """Return −(block)⁻¹ V for the layer's weight and, where it has one, bias."""
    matrix = join_matrix(vectors[0], vectors[1] if layer.bias is not None else None, layer.groups)
    if "G_inverse" in state:
        step = precondition_factored(state, matrix)
    elif "G_vectors" in state:
        step = precondition_exact(
            state, matrix, state["damping"], corrected_average(state, "eigenvalues", settings.ema)
        )
    else:  # never observed (used outside of the observed outputs): there is no metric to speak of but the identity
        step = matrix
    weight, bias = split_matrix(step.neg(), layer.weight.shape, has_bias=layer.bias is not None)
    return [weight] if bias is None else [weight, bias]
