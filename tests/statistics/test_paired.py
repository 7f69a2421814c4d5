from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from grng.statistics import (
    mean_interval,
    paired_comparison,
    paired_comparisons,
    seeds_needed,
    sign_flip_test,
    smallest_p,
    wilcoxon_test,
)

numbers = st.floats(-1e3, 1e3).filter(lambda value: value == 0 or abs(value) > 1e-3)
# Multiples of 1/1000 (accuracies of 1,000 images): many ties, which is where a sign-flip test goes wrong.
grid = st.integers(-20, 20).map(lambda value: value / 1000)


def _brute_force_p(differences: list[float]) -> float:
    exact = [round(difference * 1000) for difference in differences]
    observed = abs(sum(exact))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, exact, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(exact))
    ]
    return sum(total >= observed for total in sums) / len(sums)


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
    monkeypatch.setattr("grng.statistics.paired.EXACT_LIMIT", 4)
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


@given(st.lists(st.floats(-5, 5).filter(bool), min_size=1, max_size=10, unique_by=abs))
def test_wilcoxons_p_is_scipys_exact_one_where_nothing_is_tied(differences: list[float]) -> None:
    expected = scipy.stats.wilcoxon(differences, method="exact").pvalue
    assert wilcoxon_test(differences) == pytest.approx(expected, abs=1e-12)


def test_wilcoxons_p_is_exact_with_ties_and_knows_infinity() -> None:
    tied = [1.0, 1.0, -1.0, 2.0, 2.0, 3.0, 0.0]
    # By counting all 64 sign patterns of the ranks; the zero is left out.
    ranks = np.array([2.0, 2.0, -2.0, 4.5, 4.5, 6.0])
    sums = [abs(float(np.abs(ranks) @ np.array(signs))) for signs in itertools.product((1, -1), repeat=6)]
    assert wilcoxon_test(tied) == sum(total >= ranks.sum() for total in sums) / 64
    assert wilcoxon_test([math.inf, math.inf, 3.0, 1.0]) == wilcoxon_test([9.0, 9.0, 3.0, 1.0]) == 2 / 16
    assert wilcoxon_test([0.0, 0.0]) == 1.0
    with pytest.raises(ValueError, match="NaN"):
        wilcoxon_test([math.nan])


def test_the_pairs_of_a_family_have_the_p_that_each_has_alone() -> None:
    generator = np.random.default_rng(5)
    families = [
        (generator.normal(shift, 1, size=count).tolist(), generator.normal(size=count).tolist())
        for shift, count in ((0.2, 30), (0.5, 30), (0.3, 25), (0.4, 8))
    ]
    together = paired_comparisons([families[0], None, *families[1:]])
    alone = [sign_flip_test((np.array(left) - np.array(right)).tolist()) for left, right in families]
    assert [one.p for one in together if one is not None] == alone
