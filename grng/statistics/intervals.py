"""Means, medians and the intervals around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from grng.statistics.checks import finite, pairs, share

IntervalKind = Literal["t", "bootstrap"]
"""Student-t, or from `BOOTSTRAP_FROM` values on a bootstrap."""

BOOTSTRAP_FROM = 20
"""With fewer values a bootstrap interval covers much less than it says (docs/results/interval-coverage.md)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: Arithmetic mean, or for ratios the geometric one.
        low: Lower end; None with one value, which has no spread to estimate from.
        high: Upper end; None with one value.
        n: How many values.
        sd: Sample standard deviation (n - 1); of the logarithms for ratios; None with one value.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    sd: float | None


def mean_interval(values: Sequence[float], confidence: float = 0.95, kind: IntervalKind = "t") -> Interval:
    """Return the mean of `values` with its Student-t interval over n - 1 degrees of freedom.

    Args:
        values: At least one finite value, one per seed.
        confidence: Coverage of the interval, in (0, 1).
        kind: "bootstrap" for `bootstrap_interval` instead where there are `BOOTSTRAP_FROM` values or more.
    """
    array = finite(values, "mean_interval")
    share(confidence, "mean_interval", "confidence")
    if kind == "bootstrap" and array.size >= BOOTSTRAP_FROM:
        return bootstrap_interval(values, confidence)
    mean = float(array.mean())
    if array.size == 1:
        return Interval(mean, None, None, 1, None)
    sd = float(array.std(ddof=1))
    half = float(stdtrit(array.size - 1, 0.5 + confidence / 2)) * sd / math.sqrt(array.size)
    return Interval(mean, mean - half, mean + half, int(array.size), sd)


def mean_test(values: Sequence[float], mean: float = 0.0) -> float:
    """Return the two-sided p-value of Student's t test of the mean; below α where the interval of 1 - α leaves it out.

    Args:
        values: At least two finite values.
        mean: The mean that is tested.
    """
    array = finite(values, "mean_test")
    if array.size < 2:
        raise ValueError("mean_test: needs at least two values")
    distance, error = abs(float(array.mean()) - mean), float(array.std(ddof=1)) / math.sqrt(array.size)
    if error == 0:
        return 1.0 if distance == 0 else 0.0
    return 2 * float(stdtr(array.size - 1, -distance / error))


def bootstrap_interval(
    values: Sequence[float],
    confidence: float = 0.95,
    *,
    method: Literal["BCa", "percentile"] = "BCa",
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """Return the mean of `values` with its bootstrap interval (Efron & Tibshirani 1993), which need not be symmetric.

    Args:
        values: At least two finite values.
        confidence: Coverage of the interval, in (0, 1); what it really covers is less, far less for few values.
        method: Bias-corrected and accelerated, or the plain percentiles.
        resamples: How many samples are drawn.
        seed: Of the draws.
    """
    from scipy import stats

    array = finite(values, "bootstrap_interval")
    share(confidence, "bootstrap_interval", "confidence")
    if array.size < 2:
        raise ValueError("bootstrap_interval: needs at least two values")
    mean, sd = float(array.mean()), float(array.std(ddof=1))
    if np.ptp(array) == 0:  # BCa divides by the spread of the resampled means
        return Interval(mean, mean, mean, int(array.size), 0.0)
    made = stats.bootstrap(
        (array,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method=method,
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(made.low), float(made.high), int(array.size), sd)


def ratio_interval(
    values: Sequence[float], references: Sequence[float], confidence: float = 0.95, kind: IntervalKind = "t"
) -> Interval:
    """Return the geometric mean of the paired ratios `values / references` with its interval.

    The interval is taken of the logarithms and carried back, so that it is never below zero and that exchanging values
    and references gives the reciprocal; it is not symmetric about the mean.

    Args:
        values: Positive and finite, one per pair.
        references: Positive and finite, in the order of `values`.
        confidence: Coverage of the interval, in (0, 1).
        kind: As of `mean_interval`.
    """
    top, bottom = pairs(values, references, "ratio_interval")
    if (top <= 0).any() or (bottom <= 0).any():
        raise ValueError("ratio_interval: needs positive values")
    logs = mean_interval((np.log(top) - np.log(bottom)).tolist(), confidence, kind)
    if logs.low is None or logs.high is None:
        return replace(logs, mean=math.exp(logs.mean))
    # Two pairs can have a log interval wider than a float can hold once carried back: infinity is then the honest end.
    with np.errstate(over="ignore"):
        low, high = float(np.exp(logs.low)), float(np.exp(logs.high))
    return Interval(math.exp(logs.mean), low, high, logs.n, logs.sd)


def median(values: Sequence[float]) -> float:
    """Return the median of `values`, in which infinity stands for "never": infinite when half of them or more are.

    Args:
        values: At least one number; NaN is refused.
    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    if array.size == 0 or np.isnan(array).any():
        raise ValueError("median: needs at least one value and no NaN")
    return float((array[(array.size - 1) // 2] + array[array.size // 2]) / 2)
