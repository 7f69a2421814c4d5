"""The state of one layer's Kronecker factors: moving averages, damping, inverses, and what they do to a gradient.

All tensors live in a dictionary that the optimizer keeps in its own `state` (and so in its checkpoints):

    A, G                    moving averages of the factors, `[groups, n, n]` (or blocks: see `factor_blocks`), not yet
                            bias-corrected
    factor_updates          how many times they moved (an int), for the bias correction 1 − β^k
    A_inverse, G_inverse    inverses of the damped factors (factored form); bias_inverse, `[groups]`, where A is cut
    A_values, A_vectors, G_values, G_vectors     eigenbases (exact form)
    eigenvalues, eigenvalues_updates             moving average of S and its count (exact form, eigenvalue correction)

Damping (Martens & Grosse 2015). The factored form approximates (A ⊗ G + λI)⁻¹ by (A + π√λ I)⁻¹ ⊗ (G + √λ/π I)⁻¹ with
π² = (tr A / dim A) / (tr G / dim G); the exact form is U_G [(U_Gᵀ V U_A) ⊘ (s_G s_Aᵀ + λ)] U_Aᵀ, in which λ may
change at every step. S in place of s_G s_Aᵀ: see `eigenvalues.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grng.curvature.factor_blocks import by_group, mean_eigenvalue, times_left, times_right
from grng.curvature.inverse import NewtonReport, damped_inverse, eigenbasis
from grng.curvature.precision import norms

PI_RANGE = (1e-3, 1e3)


def update_factors(states: Sequence[dict[str, Any]], batches: Sequence[tuple[Tensor, Tensor]], decay: float) -> int:
    """Move the averages of several layers: `F ← β F + (1 − β) F_batch`.

    Args:
        states: The layers' states.
        batches: Each layer's A `[groups, in, in]` and G `[groups, out, out]` of the batch.
        decay: β in [0, 1).

    Returns:
        For how many layers the batch's factors are not finite: their averages are left as they were.
    """
    # a row of a second moment is finite where its entry on the diagonal is
    flags = all_finite([factor.diagonal(dim1=-2, dim2=-1) for pair in batches for factor in pair])
    good = [
        (state, pair)
        for state, pair, a_finite, g_finite in zip(states, batches, flags[::2], flags[1::2], strict=True)
        if a_finite and g_finite
    ]
    for state, pair in good:
        for key, batch in zip(("A", "G"), pair, strict=True):
            if key not in state:
                state[key] = torch.zeros_like(batch)
        state["factor_updates"] = state.get("factor_updates", 0) + 1
    averages = [state[key] for state, _ in good for key in ("A", "G")]
    if averages:
        torch._foreach_lerp_(averages, [factor for _, pair in good for factor in pair], 1.0 - decay)
    return len(states) - len(good)


def all_finite(tensors: Sequence[Tensor]) -> list[bool]:
    """Return for every tensor whether all of its entries are finite (its norm is), waiting for the device once."""
    if not tensors:
        return []
    flags: list[bool] = norms(tensors).isfinite().tolist()
    return flags


def corrected_factors(state: dict[str, Any], decay: float) -> tuple[Tensor, Tensor]:
    """Return A and G with the bias of their zero start corrected."""
    correction = 1.0 - decay ** state["factor_updates"]
    return state["A"] / correction, state["G"] / correction


def damping_split(a: Tensor, g: Tensor, groups: int) -> Tensor:
    """Return π, `[groups]`: the root of the ratio of the factors' mean eigenvalues, inside [1e-3, 1e3]; 1 for 0/0."""
    pi = (mean_eigenvalue(a, groups) / mean_eigenvalue(g, groups)).sqrt().clamp(*PI_RANGE)
    return torch.where(torch.isnan(pi), torch.ones_like(pi), pi)


def refresh_inverses(
    state: dict[str, Any], damping: Tensor, *, groups: int, decay: float, method: str
) -> tuple[bool, list[NewtonReport]]:
    """Invert the damped factors (factored form).

    Args:
        state: The layer's state; after a failure it keeps the last good inverses (at the very first refresh: the
            identity over the damping).
        damping: λ > 0, a scalar tensor.
        groups: Groups of the layer.
        decay: β of the moving averages.
        method: `newton`, `cholesky` or `eigh`.

    Returns:
        Whether both inverses are new, and Newton's reports.
    """
    a, g = corrected_factors(state, decay)
    pi = damping_split(a, g, groups)
    root = damping.to(a.dtype).sqrt()
    damping_a = (pi * root).repeat_interleave(len(a) // groups)
    damping_g = (root / pi).repeat_interleave(len(g) // groups)
    inverse_a, report_a = damped_inverse(a, damping_a, method=method, start=state.get("A_inverse"))
    inverse_g, report_g = damped_inverse(g, damping_g, method=method, start=state.get("G_inverse"))
    reports = [report for report in (report_a, report_g) if report is not None]
    if inverse_a is not None and inverse_g is not None:
        state["A_inverse"], state["G_inverse"] = inverse_a, inverse_g
        if len(a) > groups:
            state["bias_inverse"] = 1.0 / (1.0 + pi * root)
        return True, reports
    for key, factor, scale in (("A_inverse", a, damping_a), ("G_inverse", g, damping_g)):
        if key not in state:
            state[key] = torch.eye(factor.shape[-1], dtype=a.dtype, device=a.device) / scale[:, None, None]
    if len(a) > groups and "bias_inverse" not in state:
        state["bias_inverse"] = 1.0 / (1.0 + pi * root)
    return False, reports


def refresh_eigenbases(state: dict[str, Any], *, decay: float) -> bool:
    """Recompute the eigenbases (exact form).

    False, with the last ones kept (at first: the diagonal), where LAPACK does not converge.
    """
    a, g = corrected_factors(state, decay)
    basis_a, basis_g = eigenbasis(a), eigenbasis(g)
    good = basis_a is not None and basis_g is not None
    for key, factor, basis in (("A", a, basis_a), ("G", g, basis_g)):
        if good and basis is not None:
            # tiny negative eigenvalues are rounding: the factors are positive semi-definite
            state[f"{key}_values"], state[f"{key}_vectors"] = basis[0].clamp_(min=0.0), basis[1]
        elif f"{key}_vectors" not in state:
            identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
            state[f"{key}_values"] = factor.diagonal(dim1=-2, dim2=-1).clone()
            state[f"{key}_vectors"] = identity.expand_as(factor).clone()
    return good


def precondition_factored(state: dict[str, Any], matrix: Tensor) -> Tensor:
    """Return G_d⁻¹ V A_d⁻¹ for V of shape `[groups, out, in]`."""
    matrix = times_left(state["G_inverse"], matrix.to(state["G_inverse"].dtype))
    return times_right(matrix, state["A_inverse"], state.get("bias_inverse"))


def precondition_exact(
    state: dict[str, Any], matrix: Tensor, damping: Tensor, eigenvalues: Tensor | None = None
) -> Tensor:
    """Return U_G [(U_Gᵀ V U_A) ⊘ (S + λ)] U_Aᵀ.

    Args:
        state: The layer's state.
        matrix: V, `[groups, out, in]`.
        damping: λ, a scalar tensor or `[groups, 1, 1]`.
        eigenvalues: S, `[groups, out, in]`; None for s_G s_Aᵀ.
    """
    vectors_a, vectors_g = state["A_vectors"], state["G_vectors"]
    rotated = times_right(times_left(vectors_g.mT, matrix.to(vectors_g.dtype)), vectors_a)
    if eigenvalues is None:
        groups, _, features = matrix.shape
        values_a = by_group(state["A_values"], groups)
        if values_a.shape[1] < features:  # the bias of a cut A
            values_a = torch.cat([values_a, values_a.new_ones(groups, 1)], dim=1)
        eigenvalues = by_group(state["G_values"], groups)[:, :, None] * values_a[:, None, :]
    scaled = rotated / (eigenvalues + damping.to(rotated.dtype))
    return times_right(times_left(vectors_g, scaled), vectors_a.mT)
