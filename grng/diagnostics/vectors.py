"""Lists of tensors as one long vector: sums in float64, whatever the tensors are in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Vector = Sequence[Tensor]
"""One tensor a parameter."""


def dot(left: Vector, right: Vector) -> float:
    """Return Σ_i left_i · right_i over all entries."""
    return _sum([(_double(a) * _double(b)).sum() for a, b in zip(left, right, strict=True)])


def norm(vector: Vector) -> float:
    """Return the Euclidean norm over all entries; not a number where an entry is none."""
    square = dot(vector, vector)
    return math.sqrt(square) if math.isfinite(square) else square


def cosine(left: Vector, right: Vector) -> float:
    """Return the cosine between two vectors; not a number where one of them is zero or not finite."""
    return _ratio(dot(left, right), norm(left), norm(right))


def pearson(left: Vector, right: Vector) -> float:
    """Return the Pearson correlation over pairs of entries: the cosine of the vectors less their means.

    Not a number where the entries of one of them are all equal, or not all finite.
    """
    return cosine(_centred(left), _centred(right))


def less(left: Vector, right: Vector) -> list[Tensor]:
    """Return left − right."""
    return [a - b for a, b in zip(left, right, strict=True)]


def _centred(vector: Vector) -> list[Tensor]:
    doubles = [_double(tensor) for tensor in vector]
    mean = _sum([tensor.sum() for tensor in doubles]) / max(1, sum(tensor.numel() for tensor in doubles))
    return [tensor - mean for tensor in doubles]


def _ratio(product: float, left: float, right: float) -> float:
    scale = left * right
    return product / scale if math.isfinite(product) and math.isfinite(scale) and scale > 0 else math.nan


def _sum(parts: Sequence[Tensor]) -> float:
    return float(torch.stack(list(parts)).sum()) if parts else 0.0


def _double(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()  # mps has no float64
