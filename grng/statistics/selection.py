"""The best of several trials: what a tuning budget of k trials would have found (Dodge et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from grng.statistics.checks import Array, finite, share


@dataclass(frozen=True, slots=True)
class BestOf:
    """The best of k trials drawn from those that were made.

    Attributes:
        k: How many are drawn.
        mean: Expected best.
        low: Lower end of the band: so many in a hundred draws are below as are above `high`.
        high: Its upper end.
    """

    k: int
    mean: float
    low: float
    high: float


def best_of(scores: Sequence[float], k: int, *, maximise: bool = True, band: float = 0.8) -> BestOf:
    """Return what the best of `k` of the trials is, over all ways of drawing them without replacement.

    In closed form: of n scores the i-th smallest is the largest of k in C(i-1, k-1) of the C(n, k) draws.

    Args:
        scores: One a trial, finite: a trial that diverged gets the score of failure.
        k: Trials drawn, from 1 to as many as there are.
        maximise: Whether larger scores are better.
        band: Share of the draws whose best lies within the band, in (0, 1), at least.
    """
    array = np.sort(finite(scores, "best_of") * (1 if maximise else -1))
    share(band, "best_of", "band")
    if not 1 <= k <= array.size:
        raise ValueError(f"best_of: k must lie between 1 and {array.size}")
    ranks = np.arange(k, array.size + 1)
    weights = np.exp(_log_choose(ranks - 1, k - 1) - _log_choose(np.array(array.size), k))
    weights /= weights.sum()
    values = array[k - 1 :]
    below = np.cumsum(weights)
    tail = (1 - band) / 2
    # Rounding must not carry an end past the value whose share just reaches it.
    low, high = (float(values[np.searchsorted(below, area - 1e-12)]) for area in (tail, 1 - tail))
    mean = float(weights @ values)
    return BestOf(k, mean, low, high) if maximise else BestOf(k, -mean, -high, -low)


def _log_choose(n: NDArray[np.int64], k: int) -> Array:
    logs: Array = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return logs
