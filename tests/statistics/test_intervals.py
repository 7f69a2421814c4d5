from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from grng.statistics import bootstrap_interval, mean_interval, median, ratio_interval

numbers = st.floats(-1e3, 1e3).filter(lambda value: value == 0 or abs(value) > 1e-3)
positive = st.floats(1e-3, 1e3)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_mean_interval_equals_scipys(n: int, confidence: float) -> None:
    values = np.random.default_rng(n).normal(0.9, 0.02, n)
    low, high = scipy.stats.t.interval(confidence, n - 1, values.mean(), scipy.stats.sem(values))
    interval = mean_interval(values.tolist(), confidence)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(low, rel=1e-12)
    assert interval.high == pytest.approx(high, rel=1e-12)
    assert interval.sd == pytest.approx(values.std(ddof=1))
    assert interval.n == n


def test_one_value_has_a_mean_and_no_interval() -> None:
    interval = mean_interval([0.5])
    assert (interval.mean, interval.low, interval.high, interval.n, interval.sd) == (0.5, None, None, 1, None)


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="mean_interval: needs"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_that_is_no_share_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0, 2.0], confidence)


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_t_intervals_cover_what_they_say(n: int) -> None:
    samples = np.random.default_rng(7).normal(0.0, 1.0, (4000, n))
    unit = mean_interval(samples[0].tolist())
    assert unit.high is not None
    assert unit.sd is not None
    # The half-width in standard deviations is the same for all samples: one call tells it.
    half = (unit.high - unit.mean) / unit.sd
    covered = np.abs(samples.mean(axis=1)) <= half * samples.std(axis=1, ddof=1)
    # 4,000 trials: a standard error of 0.34 points, so that 93 to 97 % is nearly six of them.
    assert 0.93 < covered.mean() < 0.97


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_a_bootstrap_interval_is_scipys_and_repeatable(method: Literal["BCa", "percentile"]) -> None:
    values = np.random.default_rng(0).exponential(1.0, 25)
    made = bootstrap_interval(values.tolist(), 0.9, method=method, seed=3)
    expected = scipy.stats.bootstrap(
        (values,), lambda x, axis: x.mean(axis), confidence_level=0.9, method=method, rng=np.random.default_rng(3)
    ).confidence_interval
    assert (made.low, made.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert made == bootstrap_interval(values.tolist(), 0.9, method=method, seed=3)
    assert (made.mean, made.sd, made.n) == pytest.approx((values.mean(), values.std(ddof=1), 25))


def test_a_skewed_sample_has_a_bootstrap_interval_with_the_longer_end_on_its_tail() -> None:
    made = bootstrap_interval(np.random.default_rng(0).lognormal(0, 1.5, 30).tolist())
    assert made.low is not None
    assert made.high is not None
    assert made.high - made.mean > 1.2 * (made.mean - made.low)


def test_bootstrap_intervals_that_have_no_width_or_no_answer() -> None:
    made = bootstrap_interval([0.5] * 20)
    assert (made.mean, made.low, made.high, made.sd) == (0.5, 0.5, 0.5, 0.0)
    with pytest.raises(ValueError, match="two values"):
        bootstrap_interval([1.0])


def test_a_bootstrap_is_taken_from_twenty_values_on_only() -> None:
    values = np.random.default_rng(1).normal(0, 1, 20).tolist()
    assert mean_interval(values[:19], kind="bootstrap") == mean_interval(values[:19])
    assert mean_interval(values, kind="bootstrap") == bootstrap_interval(values) != mean_interval(values)
    ones, tens = [1.0] * 20, np.exp(values).tolist()
    made, logs = ratio_interval(tens, ones, kind="bootstrap"), bootstrap_interval(values)
    assert logs.low is not None
    assert made.low == pytest.approx(math.exp(logs.low))


@given(st.lists(numbers, min_size=2, max_size=12), numbers, st.floats(0.01, 100))
def test_mean_interval_moves_and_scales_with_its_values(values: list[float], shift: float, scale: float) -> None:
    plain, moved = mean_interval(values), mean_interval([shift + scale * value for value in values])
    assert plain.low is not None
    assert plain.high is not None
    assert moved.mean == pytest.approx(shift + scale * plain.mean, abs=1e-6)
    assert moved.low == pytest.approx(shift + scale * plain.low, abs=1e-6)
    assert moved.high == pytest.approx(shift + scale * plain.high, abs=1e-6)


def test_ratio_interval_is_the_t_interval_of_the_logarithms() -> None:
    values, references = [81.0, 90.0, 70.0], [100.0, 95.0, 98.0]
    logs = np.log(np.array(values) / np.array(references))
    low, high = scipy.stats.t.interval(0.95, 2, logs.mean(), scipy.stats.sem(logs))
    interval = ratio_interval(values, references)
    assert interval.mean == pytest.approx(scipy.stats.gmean(np.array(values) / np.array(references)))
    assert interval.low == pytest.approx(math.exp(low))
    assert interval.high == pytest.approx(math.exp(high))


def test_ratio_of_one_pair_has_no_interval() -> None:
    interval = ratio_interval([3.0], [2.0])
    assert interval.mean == pytest.approx(1.5)
    assert (interval.low, interval.high, interval.n) == (None, None, 1)


@given(st.lists(st.tuples(positive, positive), min_size=2, max_size=8))
def test_exchanging_value_and_reference_gives_the_reciprocal(pairs: list[tuple[float, float]]) -> None:
    values, references = zip(*pairs, strict=True)
    there, back = ratio_interval(values, references), ratio_interval(references, values)
    assert there.mean * back.mean == pytest.approx(1.0)
    assert there.high is not None
    assert back.low is not None
    assert math.isinf(there.high) or there.high * back.low == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "references", "message"),
    [([1.0], [1.0, 2.0], "pairs"), ([0.0], [1.0], "positive"), ([1.0], [-1.0], "positive"), ([], [], "at least one")],
)
def test_ratios_without_an_answer_are_refused(values: list[float], references: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ratio_interval(values, references)


def test_median_counts_never_as_infinity() -> None:
    assert median([80.0, math.inf, 60.0]) == 80.0
    assert median([80.0, math.inf, math.inf]) == math.inf
    assert median([80.0, math.inf]) == math.inf
    assert median([60.0, 80.0]) == 70.0
    with pytest.raises(ValueError, match="median"):
        median([])
    with pytest.raises(ValueError, match="median"):
        median([math.nan])


@given(st.lists(numbers, min_size=1, max_size=20))
def test_median_equals_numpys(values: list[float]) -> None:
    assert median(values) == pytest.approx(np.median(values))
