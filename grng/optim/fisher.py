"""The passes through the graph that measure the Fisher matrix: which cotangents, and for which part of the curvature.

For Kronecker factors a cotangent u gives G += e eᵀ, with e the gradient of Σ_b u_bᵀ z_b with respect to the layer's
output. For the diagonal, the mean over
samples of E g_b ⊙ g_b is estimated by B ĝ ⊙ ĝ with ĝ = (1/B) Σ_b J_bᵀ u_b, which is unbiased only where the cross terms
between samples vanish in expectation: for labels sampled from the model they do; for the data's labels and for
enumerated ones a random sign a sample (which leaves e eᵀ as it is) makes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grng.curvature.precision import wide

if TYPE_CHECKING:
    from grng.optim.base import CurvatureOptimizer


@dataclass(frozen=True, slots=True)
class Pass:
    """One backward through the graph: the cotangent `[batch, outputs]`, and what it is for."""

    cotangent: Tensor
    for_factors: bool
    for_diagonal: bool


def fisher_passes(
    optimizer: CurvatureOptimizer, outputs: Tensor, targets: Tensor, *, fisher: str, share: float, diagonal: bool
) -> tuple[list[Pass], int]:
    """Return the passes that measure the Fisher matrix on the first ⌈share · batch⌉ samples, and that number.

    Args:
        optimizer: Gives the likelihood and the random numbers.
        outputs: The model's outputs, `[batch, outputs]`.
        targets: The data's targets.
        fisher: `sampled`, `exact` or `empirical`.
        share: Share of the batch.
        diagonal: Whether a diagonal Fisher is wanted too.
    """
    if fisher == "sampled":
        cotangent, samples = optimizer.sampled_cotangent(outputs, share)
        return [Pass(cotangent, True, diagonal)], samples
    samples = math.ceil(share * outputs.shape[0])
    measured = wide(outputs.detach())[:samples]
    if fisher == "empirical":
        cotangent = optimizer.likelihood.output_gradient(measured, targets[:samples])
        if diagonal:
            cotangent = cotangent * _signs(optimizer, cotangent[:, :1])
        return [Pass(pad_batch(cotangent, outputs.shape[0]), True, diagonal)], samples
    cotangents = list(optimizer.likelihood.exact_gradients(measured))
    passes = [Pass(pad_batch(cotangent, outputs.shape[0]), True, False) for cotangent in cotangents]
    if diagonal:
        signs = _signs(optimizer, measured[:, :1].expand(-1, len(cotangents)))
        mixed = torch.stack([u * signs[:, [index]] for index, u in enumerate(cotangents)]).sum(dim=0)
        passes.append(Pass(pad_batch(mixed, outputs.shape[0]), False, True))
    return passes, samples


def _signs(optimizer: CurvatureOptimizer, like: Tensor) -> Tensor:
    draws = optimizer.uniforms(tuple(like.shape), like.device)
    return torch.where(draws < 0.5, -1.0, 1.0).to(like.dtype)


def pad_batch(values: Tensor, batch: int) -> Tensor:
    """Append zero rows to `values` until it has `batch` of them."""
    if values.shape[0] == batch:
        return values
    return torch.cat([values, values.new_zeros(batch - values.shape[0], *values.shape[1:])])


class DiagonalSum:
    """Σ_b J_bᵀ u_b over the micro-batches of one step, from which B ĝ ⊙ ĝ is formed."""

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def add(self, gradient: Tensor | None) -> None:
        """Add one micro-batch's gradient of Σ_b u_bᵀ z_b; None where the parameter was not used."""
        if gradient is not None:
            gradient = wide(gradient.detach())
            self.total = gradient.clone() if self.total is None else self.total + gradient

    def estimate(self, samples: int) -> Tensor | None:
        """Return B ĝ ⊙ ĝ = (Σ_b J_bᵀ u_b)² / B for B = `samples`, or None without an observation."""
        return None if self.total is None else self.total.square() / samples


def move_averages(states: Sequence[dict[str, Any]], key: str, values: Sequence[Tensor], decay: float) -> None:
    """Move the averages `state[key]` of several states at once; the values are finite."""
    for state, value in zip(states, values, strict=True):
        if key not in state:
            state[key], state[f"{key}_updates"] = torch.zeros_like(value), 0
        state[f"{key}_updates"] += 1
    averages = [state[key] for state in states]
    if not averages:
        return
    torch._foreach_lerp_(averages, list(values), 1.0 - decay)


def corrected_average(state: dict[str, object], key: str, decay: float) -> Tensor | None:
    """Return the bias-corrected average, or None where nothing was observed yet."""
    average, updates = state.get(key), state.get(f"{key}_updates")
    if not isinstance(average, Tensor) or not isinstance(updates, int):
        return None
    return average / (1.0 - decay**updates)
