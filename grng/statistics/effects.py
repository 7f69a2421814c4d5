"""How large a paired difference is, in units of its own spread and in seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from grng.statistics.checks import finite


def effect_size(differences: Sequence[float]) -> float | None:
    """Return Cohen's d_z, the mean difference over its standard deviation, corrected for few pairs.

    Hedges' factor Γ(m/2) / (√(m/2) Γ((m-1)/2)) with m = n - 1 takes out the bias of the plain quotient, which for three
    pairs is 1.77 times too large. With two pairs the factor is 0: no size can be told.

    Args:
        differences: At least one finite difference.

    Returns:
        None with fewer than three pairs, or where all differences are one and the same.
    """
    array = finite(differences, "effect_size")
    if array.size < 3 or np.ptp(array) == 0:
        return None
    m = array.size - 1
    correction = math.exp(gammaln(m / 2) - gammaln((m - 1) / 2)) / math.sqrt(m / 2)
    return correction * float(array.mean()) / float(array.std(ddof=1))


def win_share(differences: Sequence[float]) -> float:
    """Return the share of the pairs whose difference is positive; a tie counts half.

    Args:
        differences: At least one finite difference.
    """
    array = finite(differences, "win_share")
    return float(np.mean((array > 0) + 0.5 * (array == 0)))
