from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from grng import statistics
from grng.statistics import (
    holm,
    mean_interval,
    median,
    paired_comparison,
    paired_comparisons,
    ratio_interval,
    seeds_needed,
    sign_flip_test,
    smallest_p,
)

numbers = st.floats(-1e3, 1e3).filter(lambda value: value == 0 or abs(value) > 1e-3)
# Multiples of 1/1000 (accuracies of 1,000 images): many ties, which is where a sign-flip test goes wrong.
grid = st.integers(-20, 20).map(lambda value: value / 1000)
positive = st.floats(1e-3, 1e3)


def _brute_force_p(differences: list[float]) -> float:
    exact = [round(difference * 1000) for difference in differences]
    observed = abs(sum(exact))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, exact, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(exact))
    ]
    return sum(total >= observed for total in sums) / len(sums)


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


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_what_it_says(n: int) -> None:
    samples = np.random.default_rng(7).normal(0.0, 1.0, (4000, n))
    intervals = [mean_interval(sample.tolist()) for sample in samples]
    covered = [i.low is not None and i.high is not None and i.low <= 0.0 <= i.high for i in intervals]
    # 4,000 trials: a standard error of 0.34 points, so that 93 to 97 % is nearly six of them.
    assert 0.93 < np.mean(covered) < 0.97


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


@given(st.lists(grid, min_size=1, max_size=9))
def test_sign_flip_p_equals_a_count_in_whole_numbers(differences: list[float]) -> None:
    assert sign_flip_test(differences) == pytest.approx(_brute_force_p(differences), abs=1e-15)


@pytest.mark.parametrize("n", [2, 3, 6, 10])
def test_sign_flip_p_equals_scipys_exact_permutation_test(n: int) -> None:
    generator = np.random.default_rng(n)
    left, right = generator.normal(0.4, 1, n), generator.normal(0, 1, n)
    expected = scipy.stats.permutation_test(
        (left, right),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=math.inf,
    ).pvalue
    assert sign_flip_test((left - right).tolist()) == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(numbers, min_size=1, max_size=10), st.randoms(use_true_random=False), st.sampled_from([1e-200, -1, 1e200])
)
def test_sign_flip_p_knows_neither_order_nor_unit_nor_direction(
    differences: list[float], random: object, unit: float
) -> None:
    p = sign_flip_test(differences)
    shuffled = list(differences)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sign_flip_test(shuffled) == p
    assert sign_flip_test([unit * difference for difference in differences]) == p
    assert smallest_p(len(differences)) <= p <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 8, 20])
def test_the_smallest_p_is_reached_when_all_pairs_agree(n: int) -> None:
    assert sign_flip_test([0.01 * (index + 1) for index in range(n)]) == smallest_p(n) == min(1.0, 2 / 2**n)


def test_no_difference_at_all_is_p_one() -> None:
    assert sign_flip_test([0.0, 0.0, 0.0]) == 1.0
    assert smallest_p(0) == 1.0


def test_above_the_limit_random_flips_come_close_to_the_exact_p(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(3).normal(0.3, 1.0, 18).tolist()
    exact = sign_flip_test(differences)
    monkeypatch.setattr(statistics, "EXACT_LIMIT", 4)
    sampled = sign_flip_test(differences, resamples=40_000, seed=1)
    assert sampled == sign_flip_test(differences, resamples=40_000, seed=1)
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 40_000))
    assert sign_flip_test([1.0] * 200, resamples=999) == pytest.approx(1 / 1000)


def test_false_verdicts_stay_below_the_level() -> None:
    samples = np.random.default_rng(11).normal(0.0, 1.0, (2000, 8))
    rejected = np.mean([sign_flip_test(sample.tolist()) < 0.05 for sample in samples])
    # Exact at the attainable levels: with 8 pairs 12/256 = 0.047, here within four standard errors.
    assert abs(rejected - 12 / 256) < 4 * math.sqrt(0.047 * 0.953 / 2000)


def test_holm_by_hand() -> None:
    # 4 × 0.01, 3 × 0.013 = 0.039 (raised to 0.04), 2 × 0.03, 1 × 0.5.
    adjusted = holm([0.03, 0.01, 0.5, 0.013])
    assert adjusted == pytest.approx([0.06, 0.04, 0.5, 0.04])
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_comparisons_that_were_not_made() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([None]) == [None]
    with pytest.raises(ValueError, match="holm"):
        holm([1.2])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=12))
def test_holm_raises_p_at_most_to_bonferroni_and_keeps_the_order(pvalues: list[float | None]) -> None:
    adjusted = holm(pvalues)
    family = sum(p is not None for p in pvalues)
    pairs = sorted((p, a) for p, a in zip(pvalues, adjusted, strict=True) if p is not None and a is not None)
    assert [a is None for a in adjusted] == [p is None for p in pvalues]
    assert all(p <= a <= min(1.0, p * family) * (1 + 1e-12) for p, a in pairs)
    assert [a for _, a in pairs] == sorted(a for _, a in pairs)


def test_seeds_needed_for_the_stated_cases() -> None:
    assert seeds_needed(1) == 6
    assert seeds_needed(6) == 8
    for comparisons in (1, 2, 6, 30):
        n = seeds_needed(comparisons)
        assert comparisons * smallest_p(n) < 0.05 <= comparisons * smallest_p(n - 1)


def test_a_paired_comparison_puts_the_pieces_together() -> None:
    values, references = [0.97, 0.98, 0.96], [0.95, 0.97, 0.955]
    comparison = paired_comparison(values, references)
    assert comparison.difference == mean_interval((np.array(values) - np.array(references)).tolist())
    assert comparison.p == comparison.p_adjusted == 0.25
    with pytest.raises(ValueError, match="pairs"):
        paired_comparison([1.0], [1.0, 2.0])


def test_a_family_is_adjusted_together_and_keeps_its_holes() -> None:
    up = ([1.0 + k / 10 for k in range(8)], [0.0] * 8)
    mixed = ([1.0, -1.0] * 4, [0.0] * 8)
    made = paired_comparisons([up, None, mixed, ([], [])])
    assert [comparison is None for comparison in made] == [False, True, False, True]
    first, _, third, _ = made
    assert first is not None
    assert third is not None
    assert first.p == 2 / 256
    assert first.p_adjusted == 4 / 256
    assert third.p_adjusted == third.p == 1.0
