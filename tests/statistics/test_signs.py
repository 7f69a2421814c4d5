from __future__ import annotations

import math

import pytest
import scipy.stats

from grng.statistics import share_interval, sign_test


@pytest.mark.parametrize(("below", "above"), [(0, 1), (3, 0), (1, 5), (6, 6), (9, 2), (20, 4)])
def test_p_and_interval_are_scipys(below: int, above: int) -> None:
    made = sign_test([1.0] * below + [3.0] * above, [2.0] * (below + above))
    exact = scipy.stats.binomtest(below, below + above, 0.5)
    assert (made.below, made.above, made.ties) == (below, above, 0)
    assert made.p == pytest.approx(exact.pvalue, abs=1e-12)
    interval = exact.proportion_ci(0.95, "exact")
    assert share_interval(below, below + above) == pytest.approx((interval.low, interval.high), abs=1e-10)


def test_two_that_never_got_there_are_a_tie() -> None:
    made = sign_test([math.inf, math.inf, 50.0, 60.0], [math.inf, 80.0, math.inf, 90.0])
    assert (made.below, made.above, made.ties) == (2, 1, 1)
    assert sign_test([math.inf], [math.inf]).p == 1.0


@pytest.mark.parametrize("total", [5, 6, 9, 14])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_interval_leaves_a_half_out_where_p_is_small(total: int, confidence: float) -> None:
    for count in range(total + 1):
        low, high = share_interval(count, total, confidence)
        p = sign_test([0.0] * count + [2.0] * (total - count), [1.0] * total).p
        assert (p < 1 - confidence) == (low > 0.5 or high < 0.5)


def test_what_has_no_answer_is_refused() -> None:
    for values, references in (([], []), ([1.0], [1.0, 2.0]), ([math.nan], [1.0])):
        with pytest.raises(ValueError, match="sign_test"):
            sign_test(values, references)
    with pytest.raises(ValueError, match="share_interval"):
        share_interval(3, 2)
