"""How fast a loss falls: a geometric rate, fitted where there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress

ROUNDING = 1e-10
"""Loss by its first value below which float32 has nothing more to say: residuals of 1e-5 of what they were."""

LEAST_STEPS = 5
"""Losses that a fit takes at least."""


@dataclass(frozen=True, slots=True)
class GeometricRate:
    """L_t ≈ C q^t over the steps `first` to `last`.

    Attributes:
        factor: q, what a step multiplies the loss by.
        error: Its standard error.
        first: The first step of the fit, counted from 0.
        last: The last one.
        r_squared: Share of the variance of log L that the line explains: 1 if the loss is geometric.
    """

    factor: float
    error: float
    first: int
    last: int
    r_squared: float


def geometric_rate(losses: Sequence[float], *, rounding: float = ROUNDING, late: bool = False) -> GeometricRate | None:
    """Fit a geometric rate by least squares of log L_t, over the range in which the loss falls and is above rounding.

    That range begins at the largest loss and ends at the smallest one above `rounding` times the first loss, before the
    first one that is not.

    Args:
        losses: One a step, of equally long steps.
        rounding: As above.
        late: Fit the second half of the way alone, as logarithms go: the rate once the transient is over.

    Returns:
        None where the range has fewer than `LEAST_STEPS` steps.

    Raises:
        ValueError: A loss is negative or NaN.
    """
    values = np.asarray(losses, dtype=np.float64)
    if np.isnan(values).any() or (values < 0).any():
        raise ValueError("geometric_rate: losses must be numbers, at least 0")
    first, last = falling_range(values.tolist(), rounding=rounding)
    if last - first + 1 < LEAST_STEPS:
        return None
    logs = np.log(values[first : last + 1])
    if late:
        middle = (logs[0] + logs[-1]) / 2
        first += int(np.flatnonzero(logs > middle)[-1]) + 1
        logs = np.log(values[first : last + 1])
        if len(logs) < LEAST_STEPS:
            return None
    fit = linregress(np.arange(first, last + 1), logs)
    factor = math.exp(float(fit.slope))
    squared = float(fit.rvalue) ** 2
    return GeometricRate(factor, factor * float(fit.stderr), first, last, squared)


def falling_range(losses: Sequence[float], *, rounding: float = ROUNDING) -> tuple[int, int]:
    """Return the first and the last step of the range that `geometric_rate` fits; both 0 without losses."""
    if not len(losses) or not math.isfinite(losses[0]):
        return 0, 0
    floor = rounding * losses[0]
    small = next((step for step, loss in enumerate(losses) if loss <= floor), len(losses))
    usable = losses[:small]
    if not usable:
        return 0, 0
    lowest = min(range(len(usable)), key=lambda step: usable[step])
    highest = max(range(lowest + 1), key=lambda step: usable[step])
    return highest, lowest


def steps_to(losses: Sequence[float], share: float) -> int | None:
    """Return after how many steps the loss is at most `share` of the first one; None: never."""
    return next((step for step, loss in enumerate(losses) if loss <= share * losses[0]), None)
