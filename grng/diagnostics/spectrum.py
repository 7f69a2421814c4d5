"""The largest eigenvalue and the trace of a symmetric operator that is known by its products with vectors only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grng.diagnostics.vectors import Vector, dot, norm

Product = Callable[[Vector], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and how exact it is; both are not a number where the operator's products are not finite."""

    value: float
    error: float


_UNKNOWN = Estimate(math.nan, math.nan)


def largest_eigenvalue(product: Product, start: Vector, *, iterations: int) -> Estimate:
    """Return the largest eigenvalue (of those with their signs) by the Lanczos method.

    Three-term recurrence without reorthogonalisation, so that three vectors are kept and not one an iteration: what is
    lost of orthogonality makes copies of converged eigenvalues and no larger ones (Paige 1980).

    Args:
        product: v -> A v.
        start: Where the Krylov space begins, not zero; random, so that it is not orthogonal to the eigenvector.
        iterations: Products with A, at least 1.

    Returns:
        The largest Ritz value θ, at most the eigenvalue but for rounding, and the norm of its residual ‖A y − θ y‖: an
        eigenvalue lies no farther from θ than that.
    """
    length = norm(start)
    current = [tensor / length for tensor in start]
    previous: Sequence[Tensor] | None = None
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(iterations):
        image = [tensor.detach() for tensor in product(current)]
        alpha = dot(current, image)
        diagonal.append(alpha)
        rest = [a - alpha * v for a, v in zip(image, current, strict=True)]
        if previous is not None:
            rest = [r - beside[-1] * v for r, v in zip(rest, previous, strict=True)]
        length = norm(rest)
        if not math.isfinite(length) or not math.isfinite(alpha):
            return _UNKNOWN
        beside.append(length)
        if length <= _tiny(current) * max(map(abs, (*diagonal, *beside))):
            break  # an invariant subspace: its eigenvalues are exact
        previous, current = current, [tensor / length for tensor in rest]
    count = len(diagonal)
    matrix = torch.zeros(count, count, dtype=torch.float64)
    matrix.diagonal().copy_(torch.tensor(diagonal, dtype=torch.float64))
    for offset in (-1, 1):
        matrix.diagonal(offset).copy_(torch.tensor(beside[: count - 1], dtype=torch.float64))
    values, vectors = torch.linalg.eigh(matrix)
    return Estimate(float(values[-1]), beside[-1] * abs(float(vectors[-1, -1])))


def trace_estimate(forms: Sequence[float]) -> Estimate:
    """Return the mean of zᵀA z over random vectors z of independent signs, and the mean's standard error.

    Hutchinson 1989: the expectation is the trace, the variance 2 Σ_{i≠j} A_ij².

    Args:
        forms: zᵀA z of each vector, at least 2.
    """
    if not all(map(math.isfinite, forms)):
        return _UNKNOWN
    return Estimate(statistics.fmean(forms), statistics.stdev(forms) / math.sqrt(len(forms)))


def normal_vector(like: Vector, seed: int) -> list[Tensor]:
    """Return a vector of independent standard normal entries, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor) for tensor in like]


def signs(like: Vector, seed: int) -> list[Tensor]:
    """Return a vector of independent entries 1 and −1, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1).to(tensor) for tensor in like]


def _tiny(vector: Vector) -> float:
    return 10.0 * max(float(torch.finfo(tensor.dtype).eps) for tensor in vector)
