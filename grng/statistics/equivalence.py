"""Two one-sided tests: are paired differences small enough not to matter?

That a difference is not significant does not make two things equal: it may be for want of seeds. Equivalence is a claim
of its own, with a margin that is stated beforehand (Schuirmann 1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtr

from grng.statistics.checks import finite
from grng.statistics.corrections import SIGNIFICANCE
from grng.statistics.intervals import mean_interval


@dataclass(frozen=True, slots=True)
class Equivalence:
    """What two one-sided t tests say.

    Attributes:
        p: That of the hypothesis that the mean difference is as large as the margin or larger, in either direction:
            small means equivalent.
        p_beyond: That of the hypothesis that it is no larger than the margin: small means that it is larger.
        low: Lower end of the interval that lies within the margin where `p` is below `significance`.
        high: Its upper end; its confidence is 1 - 2 · `significance`.
    """

    p: float
    p_beyond: float
    low: float
    high: float


def equivalence_test(
    differences: Sequence[float], margin: float, *, significance: float = SIGNIFICANCE
) -> Equivalence | None:
    """Test whether the mean of paired differences lies within ±`margin`.

    Args:
        differences: Finite, one per pair.
        margin: The largest difference that does not matter, in the same unit; positive.
        significance: Of each one-sided test, below 1/2.

    Returns:
        None for one pair, which has no spread to estimate from.
    """
    array = finite(differences, "equivalence_test")
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError("equivalence_test: margin must be positive")
    if not 0 < significance < 0.5:
        raise ValueError("equivalence_test: significance must lie between 0 and 1/2")
    made = mean_interval(differences, 1 - 2 * significance)
    if made.low is None or made.high is None or made.sd is None:
        return None
    inside = margin - abs(made.mean)
    error = made.sd / math.sqrt(made.n)
    if error == 0:
        p = 0.0 if inside > 0 else 1.0
        return Equivalence(p, 1 - p, made.low, made.high)
    # Of the two one-sided tests the one at the nearer end decides.
    p = float(stdtr(array.size - 1, -inside / error))
    return Equivalence(p, 1 - p, made.low, made.high)
