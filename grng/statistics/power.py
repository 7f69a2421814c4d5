"""How many seeds it takes, before they are run."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import chdtri, nctdtr, stdtrit

from grng.statistics.checks import share
from grng.statistics.corrections import SIGNIFICANCE
from grng.statistics.paired import smallest_p

MAX_SEEDS = 10_000
"""Beyond so many the answer is that it cannot be done."""

SIGN_FLIP_LIMIT = 12
"""Up to so many pairs the exact test's power is simulated: its few attainable p-values make it weaker than a t test."""


def paired_power(n: int, effect: float, spread: float, significance: float = SIGNIFICANCE) -> float:
    """Return the power of the two-sided paired t test, from the non-central t distribution.

    Args:
        n: Pairs, two or more.
        effect: The true mean difference.
        spread: Standard deviation of the paired differences, in the same unit; positive.
        significance: Of the test.
    """
    _check(n, spread, significance, "paired_power")
    noncentrality = abs(effect) / spread * math.sqrt(n)
    bound = float(stdtrit(n - 1, 1 - significance / 2))
    # Far out in a tail the distribution is 0 or 1 to all digits, where the series for it may give up.
    above = 1 - float(np.nan_to_num(nctdtr(n - 1, noncentrality, bound), nan=0.0))
    below = float(np.nan_to_num(nctdtr(n - 1, noncentrality, -bound), nan=0.0))
    return min(1.0, max(0.0, above + below))


def sign_flip_power(
    n: int, effect: float, spread: float, significance: float = SIGNIFICANCE, *, trials: int = 4000, seed: int = 0
) -> float:
    """Return the power of the exact sign-flip test for normal differences, simulated.

    Args:
        n: Pairs, from 2 to `SIGN_FLIP_LIMIT`.
        effect: The true mean difference.
        spread: Standard deviation of the paired differences, in the same unit; positive.
        significance: Of the test: p below it is a verdict.
        trials: Simulated experiments; 4,000 tell a power of 80 % to ± 0.6 points.
        seed: Of the simulation.
    """
    _check(n, spread, significance, "sign_flip_power")
    if n > SIGN_FLIP_LIMIT:
        raise ValueError(f"sign_flip_power: n must be at most {SIGN_FLIP_LIMIT}")
    if smallest_p(n) >= significance:
        return 0.0
    differences = np.random.default_rng(seed).normal(abs(effect) / spread, 1.0, (trials, n))
    # All sign patterns with the first sign kept: by symmetry the others give the same sums.
    patterns = 1.0 - 2.0 * ((np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1)
    sums = np.abs(differences @ patterns.T)
    p = np.mean(sums >= np.abs(differences.sum(axis=1, keepdims=True)) - 1e-9, axis=1)
    return float(np.mean(p < significance))


def seeds_for_power(
    effect: float,
    spread: float,
    *,
    power: float = 0.8,
    significance: float = SIGNIFICANCE,
    comparisons: int = 1,
    limit: int = MAX_SEEDS,
) -> int | None:
    """Return the smallest number of seeds with which a true difference is found with probability `power`.

    Holm's correction is taken as for the smallest p of the family, α / `comparisons`: what it takes when only one of
    the differences is there. The t test's power must be enough, and that of the exact sign-flip test, on which verdicts
    rest, up to `SIGN_FLIP_LIMIT` pairs; beyond, the two hardly differ.

    Args:
        effect: The difference to find; not 0.
        spread: Standard deviation of the paired differences, in the same unit; positive.
        power: Probability of finding it, in (0, 1).
        significance: Of the family, in (0, 1).
        comparisons: Tests in the family.
        limit: The most seeds that are considered.

    Returns:
        None where `limit` seeds are not enough.
    """
    share(power, "seeds_for_power", "power")
    if effect == 0 or comparisons < 1:
        raise ValueError("seeds_for_power: needs an effect other than 0 and at least one comparison")
    level = significance / comparisons
    low, high = 2, 2
    while paired_power(high, effect, spread, level) < power:
        if high >= limit:
            return None
        low, high = high, min(limit, 2 * high)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if paired_power(middle, effect, spread, level) >= power else (middle + 1, high)
    while low <= SIGN_FLIP_LIMIT and sign_flip_power(low, effect, spread, level) < power:
        low += 1
    return low if low <= limit else None


def spread_interval(sd: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a standard deviation that was estimated from `n` normal values (chi-squared).

    Args:
        sd: The sample standard deviation.
        n: How many values it is of; two or more.
        confidence: Coverage, in (0, 1).
    """
    share(confidence, "spread_interval", "confidence")
    if n < 2:
        raise ValueError("spread_interval: needs at least two values")
    tail = (1 - confidence) / 2
    low, high = (sd * math.sqrt((n - 1) / float(chdtri(n - 1, area))) for area in (tail, 1 - tail))
    return low, high


def _check(n: int, spread: float, significance: float, what: str) -> None:
    share(significance, what, "significance")
    if n < 2 or not (spread > 0 and math.isfinite(spread)):
        raise ValueError(f"{what}: needs two pairs and a positive spread")
