"""Paired differences: is there anything?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from grng.statistics.checks import Array, finite, pairs
from grng.statistics.corrections import SIGNIFICANCE, holm
from grng.statistics.intervals import Interval, IntervalKind, mean_interval

EXACT_LIMIT = 20
"""Up to so many pairs all 2^n sign flips are counted; above, they are sampled."""

_ROWS_AT_ONCE = 250
"""Sign patterns that are numbers at a time: more would not stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Paired differences, value minus reference.

    Attributes:
        difference: Mean difference with its Student-t interval.
        p: Exact two-sided sign-flip p-value.
        p_adjusted: The same after Holm's correction for the other comparisons of the family; equal to `p` for a family
            of one.
    """

    difference: Interval
    p: float
    p_adjusted: float


def sign_flip_test(differences: Sequence[float], *, resamples: int = 100_000, seed: int = 0) -> float:
    """Return the two-sided sign-flip p-value of the hypothesis that the paired differences are symmetric about zero.

    Exact up to `EXACT_LIMIT` differences: the share of all 2^n sign patterns whose sum is at least as far from zero as
    the observed one. Above, the share among `resamples` random patterns, the observed one counted in (so that p is
    never 0); `seed` makes it repeatable. Sums that differ by rounding only are ties, and a tie counts as "as far".

    Args:
        differences: At least one finite difference.
        resamples: Random sign patterns, used only above `EXACT_LIMIT`.
        seed: Of those patterns.
    """
    return _sign_flip_tests([differences], resamples=resamples, seed=seed)[0]


def _sign_flip_tests(families: Sequence[Sequence[float]], *, resamples: int = 100_000, seed: int = 0) -> list[float]:
    """Return `sign_flip_test` of each; those of one length share their random patterns, which are the same anyway."""
    found: dict[int, float] = {}
    sampled: dict[int, list[tuple[int, Array, float]]] = {}
    for place, differences in enumerate(families):
        array = finite(differences, "sign_flip_test")
        scale = float(np.abs(array).max())
        if scale == 0.0:
            found[place] = 1.0
            continue
        # Scaled, so that neither sums overflow nor the tolerance underflows.
        array = array / scale
        bound = abs(float(array.sum())) - 1e-10 * float(np.abs(array).sum())
        if array.size <= EXACT_LIMIT:
            found[place] = _exact(array, bound)
        else:
            sampled.setdefault(array.size, []).append((place, array, bound))
    for several in sampled.values():
        places, arrays, bounds = zip(*several, strict=True)
        shares = _sampled(np.stack(arrays, axis=1), np.array(bounds), resamples, seed)
        found |= zip(places, shares.tolist(), strict=True)
    return [found[place] for place in range(len(families))]


def _exact(array: Array, bound: float) -> float:
    # By symmetry the first sign can stay: half the patterns give the same share.
    sums = array[:1]
    for difference in array[1:]:
        sums = np.concatenate((sums + difference, sums - difference))
    return float(np.mean(np.abs(sums) >= bound))


def _sampled(arrays: Array, bounds: Array, resamples: int, seed: int) -> Array:
    """Return the share of random sign patterns as extreme as `bounds`, by column of `arrays`."""
    generator = np.random.default_rng(seed)
    extreme = np.zeros(len(bounds), dtype=np.int64)
    totals = arrays.sum(axis=0)
    for start in range(0, resamples, 10_000):
        flips = generator.integers(0, 2, size=(min(10_000, resamples - start), len(arrays)), dtype=np.int8)
        for first in range(0, len(flips), _ROWS_AT_ONCE):
            positive = flips[first : first + _ROWS_AT_ONCE].astype(np.float64) @ arrays
            extreme += np.count_nonzero(np.abs(2.0 * positive - totals) >= bounds, axis=0)
    return (extreme + 1) / (resamples + 1)


def wilcoxon_test(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test, exact with ties as well.

    It is the sign-flip test of the ranks, so that one far value counts no more than the largest rank, and infinite
    differences ("never" against a number) have a place. Differences of zero are left out, ties get their mean rank.

    Args:
        differences: At least one number, infinite ones allowed; NaN is refused.
    """
    from scipy import stats

    array = np.asarray(differences, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or np.isnan(array).any():
        raise ValueError("wilcoxon_test: needs at least one value and no NaN")
    array = array[array != 0]
    if array.size == 0:
        return 1.0
    return sign_flip_test((np.sign(array) * stats.rankdata(np.abs(array))).tolist())


def smallest_p(n: int) -> float:
    """Return 2 / 2^n, the smallest p-value that the exact sign-flip test of n pairs can give (1 for n of 0 or 1)."""
    return min(1.0, 2.0 ** (1 - n))


def seeds_needed(comparisons: int, significance: float = SIGNIFICANCE) -> int:
    """Return the smallest number of seeds with which one of `comparisons` tests under Holm can be significant."""
    n = 2
    while comparisons * smallest_p(n) >= significance:
        n += 1
    return n


def paired_comparison(
    values: Sequence[float],
    references: Sequence[float],
    confidence: float = 0.95,
    *,
    kind: IntervalKind = "t",
    seed: int = 0,
) -> PairedComparison:
    """Compare pairs: mean difference `values - references` with its interval and sign-flip p, not adjusted.

    Args:
        values: Finite, one per pair.
        references: Finite, in the order of `values`.
        confidence: Coverage of the interval.
        kind: As of `mean_interval`.
        seed: Of the sampled sign flips, used above `EXACT_LIMIT` pairs.
    """
    differences = _differences(values, references)
    p = sign_flip_test(differences, seed=seed)
    return PairedComparison(mean_interval(differences, confidence, kind), p, p)


def _differences(values: Sequence[float], references: Sequence[float]) -> list[float]:
    left, right = pairs(values, references, "paired_comparison")
    differences: list[float] = (left - right).tolist()
    return differences


def paired_comparisons(
    comparisons: Sequence[tuple[Sequence[float], Sequence[float]] | None],
    confidence: float = 0.95,
    *,
    kind: IntervalKind = "t",
) -> list[PairedComparison | None]:
    """Make one family of `paired_comparison`s and adjust their p-values together by Holm.

    Args:
        comparisons: (values, references) per comparison; None, or no pairs in it, is no comparison and gives None.
        confidence: Coverage of the intervals.
        kind: As of `mean_interval`.
    """
    differences = [_differences(*one) if one is not None and len(one[0]) else None for one in comparisons]
    shares = iter(_sign_flip_tests([one for one in differences if one is not None]))
    made: list[PairedComparison | None] = []
    for one in differences:
        if one is None:
            made.append(None)
        else:
            p = next(shares)
            made.append(PairedComparison(mean_interval(one, confidence, kind), p, p))
    adjusted = holm([None if comparison is None else comparison.p for comparison in made])
    return [
        None if comparison is None or share is None else replace(comparison, p_adjusted=share)
        for comparison, share in zip(made, adjusted, strict=True)
    ]
