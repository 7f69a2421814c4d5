"""Who wins a pair, and no more: what is left to compare when values can be infinite ("never reached")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import bdtr, betaincinv


@dataclass(frozen=True, slots=True)
class SignTest:
    """Pairs counted by their order.

    Attributes:
        below: Pairs in which the value is below the reference.
        above: Pairs in which it is above.
        ties: Pairs of equals, two infinite ones included; the test leaves them out.
        p: Exact two-sided p of the hypothesis that below is as likely as above; 1 where all are ties.
    """

    below: int
    above: int
    ties: int
    p: float


def sign_test(values: Sequence[float], references: Sequence[float]) -> SignTest:
    """Count which of each pair is the smaller, and test whether that may be chance.

    Args:
        values: One per pair; infinity stands for "never"; NaN is refused.
        references: In the order of `values`.
    """
    if len(values) != len(references) or not values or any(map(math.isnan, (*values, *references))):
        raise ValueError("sign_test: needs pairs, at least one, and no NaN")
    below = sum(value < other for value, other in zip(values, references, strict=True))
    above = sum(value > other for value, other in zip(values, references, strict=True))
    untied = below + above
    p = min(1.0, 2 * float(bdtr(min(below, above), untied, 0.5))) if untied else 1.0
    return SignTest(below, above, len(values) - untied, p)


def share_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share, `count` of `total` (Clopper & Pearson 1934).

    It leaves 1/2 out exactly where `sign_test`'s p is below 1 - `confidence`.
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError("share_interval: count must lie between 0 and total, which is 1 or more")
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, tail))
    high = 1.0 if count == total else float(betaincinv(count + 1, total - count, 1 - tail))
    return low, high
