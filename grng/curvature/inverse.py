"""Inverses and eigenbases of symmetric positive definite matrices: pure functions on batches `[..., n, n]`.

Newton's iteration (the choice of the GRNG paper) is `X ← X (2I − M X)`; it converges quadratically once ‖I − M X‖ < 1
(Schulz 1933; Ben-Israel 1965). Started from I/‖M‖ with any upper bound of the largest eigenvalue it always gets there
for a positive definite M. It is made of matrix products only, hence for GPUs; on a CPU Cholesky's factorisation is many
times faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class NewtonReport:
    """How Newton's iteration ended: the largest residual ‖I − M X‖_F / √n of the batch, and the iterations spent."""

    residual: float
    iterations: int
    converged: bool


def newton_inverse(
    matrix: Tensor, start: Tensor | None = None, *, tolerance: float | None = None, max_iterations: int = 100
) -> tuple[Tensor, NewtonReport]:
    """Invert by Newton's iteration.

    Args:
        matrix: Symmetric positive definite, `[..., n, n]`.
        start: A guess of the inverse, e.g. the last one; used where ‖I − M X‖_F < 1, else I/‖M‖_∞.
        tolerance: Stop when ‖I − M X‖_F / √n falls below it; default 1e-9 in float64, 1e-5 in float32.
        max_iterations: Upper bound of the iterations.

    Returns:
        The inverse `[..., n, n]` and the report; `converged` is False for a matrix that is not positive definite.
    """
    size = matrix.shape[-1]
    if tolerance is None:
        tolerance = 1e-9 if matrix.dtype == torch.float64 else 1e-5
    identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    # the infinity norm bounds the largest eigenvalue of a symmetric matrix
    bound = matrix.abs().sum(dim=-1).amax(dim=-1).clamp(min=torch.finfo(matrix.dtype).tiny)
    inverse = identity / bound[..., None, None]
    if start is not None:
        warm = torch.linalg.matrix_norm(identity - matrix @ start) < 1.0
        inverse = torch.where(warm[..., None, None], start, inverse)

    best, best_residual, spent, without_progress = inverse, float("inf"), 0, 0
    while True:
        defect = identity - matrix @ inverse
        residual = float(torch.linalg.matrix_norm(defect).amax()) / size**0.5
        if not residual < float("inf"):
            break
        # The residual creeps while the smallest eigenvalues are far from inverted, then squares at every step, until
        # rounding is all that is left: only a residual that falls no more is a reason to stop.
        without_progress = 0 if residual < best_residual else without_progress + 1
        if residual < best_residual:
            best, best_residual = inverse, residual
        if best_residual < tolerance or without_progress == 3 or spent == max_iterations:
            break
        inverse = inverse + inverse @ defect
        spent += 1
    accepted = max(tolerance, 1e-6 if matrix.dtype == torch.float64 else 1e-1)
    # not symmetrised: in single precision that was measured to cost two digits of M X = I at condition 1e4
    # a matrix that is not positive definite keeps an eigenvalue of I − M X of at least 1, however large n is
    converged = best_residual < accepted and best_residual * size**0.5 < 1.0
    return best, NewtonReport(residual=best_residual, iterations=spent, converged=converged)


def cholesky_inverse(matrix: Tensor) -> Tensor | None:
    """Invert `[..., n, n]` by Cholesky's factorisation; None where it is not positive definite (or not finite)."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    if bool(info.any()):
        return None
    inverse = torch.cholesky_inverse(factor)
    # the largest entries of a positive definite matrix stand on its diagonal
    return inverse if bool(torch.isfinite(inverse.diagonal(dim1=-2, dim2=-1)).all()) else None


def eigen_inverse(matrix: Tensor) -> Tensor | None:
    """Invert through the eigenbasis, `[..., n, n]`; None where an eigenvalue is not positive."""
    pair = eigenbasis(matrix)
    if pair is None:
        return None
    values, vectors = pair
    if not bool((values > 0).all()):
        return None
    return (vectors / values[..., None, :]) @ vectors.mT


def eigenbasis(matrix: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return eigenvalues `[..., n]` and eigenvectors `[..., n, n]` (columns).

    None where LAPACK does not converge, also after a jittered retry.
    """
    if not bool(torch.isfinite(matrix).all()):
        return None
    size = matrix.shape[-1]
    identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    scale = matrix.diagonal(dim1=-2, dim2=-1).mean(dim=-1).clamp(min=torch.finfo(matrix.dtype).tiny)[..., None, None]
    # rank-deficient factors (few positions, many features) are where LAPACK was seen to give up; a jitter parts the
    # equal eigenvalues
    for jitter in (0.0, 1e-6, 1e-4):
        try:
            values, vectors = torch.linalg.eigh(matrix + jitter * scale * identity if jitter else matrix)
        except RuntimeError:  # torch's LinAlgError is one
            continue
        if bool(torch.isfinite(values).all() & torch.isfinite(vectors).all()):
            return values - jitter * scale[..., 0], vectors
    return None


def damped_inverse(
    matrix: Tensor, damping: Tensor, *, method: str, start: Tensor | None = None
) -> tuple[Tensor | None, NewtonReport | None]:
    """Invert `M + damping · I` by the named method, and by the more robust ones where it fails.

    Args:
        matrix: Symmetric positive semi-definite, `[..., n, n]`.
        damping: Positive, `[...]`.
        method: `newton`, `cholesky` or `eigh`.
        start: Newton's warm start.

    Returns:
        The inverse, or None where every method failed (the caller keeps its last good one), and Newton's report where
        it ran.
    """
    # Cholesky's own result says so; a look at every entry would cost half as much again
    finite = method == "cholesky" or bool(torch.isfinite(matrix).all())
    if not finite or not bool(torch.isfinite(damping).all()):
        return None, None
    damped = _shifted(matrix, damping)
    report = None
    if method == "newton":
        inverse, report = newton_inverse(damped, start)
        if report.converged:
            return inverse, report
    if method == "eigh":
        found = eigen_inverse(damped)
        if found is not None:
            return found, report
    found = cholesky_inverse(damped)
    if found is None:
        # rounding can make a barely damped factor indefinite: a jitter of the size of float's resolution, then more
        scale = damped.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
        for jitter in (1e-6, 1e-4):
            found = cholesky_inverse(_shifted(damped, jitter * scale))
            if found is not None:
                break
    return found, report


def _shifted(matrix: Tensor, shift: Tensor) -> Tensor:
    """Return `M + shift · I`, in one pass over the memory."""
    shifted = matrix.clone()
    shifted.diagonal(dim1=-2, dim2=-1).add_(shift[..., None])
    return shifted
