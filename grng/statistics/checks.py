"""What every function of this package asks of its input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def finite(values: Sequence[float], what: str) -> Array:
    """Return `values` as float64 [n], refusing an empty sequence and non-finite values."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{what}: needs at least one value")
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: needs finite values")
    return array


def pairs(values: Sequence[float], references: Sequence[float], what: str) -> tuple[Array, Array]:
    """Return both as float64 [n], refusing what `finite` refuses and lengths that differ."""
    left, right = finite(values, what), finite(references, what)
    if left.shape != right.shape:
        raise ValueError(f"{what}: values and references must be pairs")
    return left, right


def share(value: float, what: str, name: str) -> None:
    """Refuse a number that does not lie between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{what}: {name} must lie between 0 and 1")
