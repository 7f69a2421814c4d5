"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

SIGNIFICANCE = 0.05
"""Adjusted p-values below this are a verdict."""


def holm(pvalues: Sequence[float | None]) -> list[float | None]:
    """Return Holm's step-down adjusted p-values, in the order given.

    The k-th smallest of m is multiplied by m - k + 1 and never falls below an earlier one; comparing them with α
    controls the chance of any false verdict in the family at α, whatever the dependence between tests.

    Args:
        pvalues: In [0, 1]; None (a comparison that could not be made) passes through and is no member of the family.
    """
    known = sorted((p, index) for index, p in enumerate(pvalues) if p is not None)
    if any(not 0 <= p <= 1 for p, _ in known):
        raise ValueError("holm: p-values must lie in [0, 1]")
    adjusted: list[float | None] = [None] * len(pvalues)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = largest
    return adjusted
