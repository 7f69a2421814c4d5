from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from grng.statistics import (
    paired_power,
    seeds_for_power,
    seeds_needed,
    sign_flip_power,
    sign_flip_test,
    spread_interval,
)


@pytest.mark.parametrize(
    ("n", "effect", "spread", "significance", "power"),
    [
        # R: power.t.test(n, delta, sd, type = "paired")
        (20, 0.5, 1.0, 0.05, 0.5645),
        (10, 1.0, 1.0, 0.05, 0.8031),
        (34, 0.5, 1.0, 0.05, 0.8078),
    ],
)
def test_power_is_that_of_published_tables(
    n: int, effect: float, spread: float, significance: float, power: float
) -> None:
    assert paired_power(n, effect, spread, significance) == pytest.approx(power, abs=2e-4)


def test_power_is_the_share_of_significant_t_tests() -> None:
    samples = np.random.default_rng(2).normal(0.8, 1.0, (20_000, 6))
    found = np.mean(scipy.stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    assert paired_power(6, 0.8, 1.0) == pytest.approx(found, abs=4 * math.sqrt(0.25 / 20_000))
    assert paired_power(6, 0.0, 1.0) == pytest.approx(0.05)
    assert paired_power(6, -0.8, 1.0) == paired_power(6, 0.8, 1.0)
    assert paired_power(1000, 5.0, 1.0) == 1.0


def test_the_simulated_power_counts_what_the_test_says() -> None:
    differences = np.random.default_rng(4).normal(1.2, 1.0, (300, 8))
    found = np.mean([sign_flip_test(one.tolist()) < 0.05 for one in differences])
    assert sign_flip_power(8, 1.2, 1.0, trials=300, seed=4) == pytest.approx(found)
    assert sign_flip_power(5, 100.0, 1.0) == 0.0, "five pairs cannot"
    with pytest.raises(ValueError, match="at most 12"):
        sign_flip_power(13, 1.0, 1.0)


def test_seeds_for_one_comparison_are_cohens() -> None:
    # Cohen 1988, and G*Power: d_z = 0.5, α = 0.05 two-sided, power 0.8 takes 34 pairs; d_z = 0.2 takes 199.
    assert seeds_for_power(0.5, 1.0) == 34
    assert seeds_for_power(0.2, 1.0) == 199
    assert seeds_for_power(0.005, 0.01) == seeds_for_power(-0.5, 1.0) == 34


@pytest.mark.parametrize("comparisons", [1, 2, 6, 30])
def test_however_large_an_effect_the_exact_test_has_its_floor(comparisons: int) -> None:
    assert seeds_for_power(1.0, 0.001, comparisons=comparisons) == seeds_needed(comparisons)


@pytest.mark.parametrize(("effect", "comparisons"), [(0.7, 1), (1.0, 6), (1.5, 3)])
def test_it_is_the_fewest_seeds_that_do(effect: float, comparisons: int) -> None:
    n = seeds_for_power(effect, 1.0, comparisons=comparisons)
    assert n is not None
    level = 0.05 / comparisons

    def enough(seeds: int) -> bool:
        exact = seeds > 12 or sign_flip_power(seeds, effect, 1.0, level) >= 0.8
        return exact and paired_power(seeds, effect, 1.0, level) >= 0.8

    assert enough(n)
    assert not any(enough(fewer) for fewer in range(2, n))


def test_what_cannot_be_done_is_none() -> None:
    assert seeds_for_power(1e-6, 1.0) is None
    assert seeds_for_power(0.2, 1.0, limit=100) is None
    for bad in ({"effect": 0.0}, {"spread": 0.0}, {"power": 1.0}, {"significance": 0.0}, {"comparisons": 0}):
        with pytest.raises(ValueError, match=r"power"):
            seeds_for_power(**{"effect": 1.0, "spread": 1.0, **bad})  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_interval_of_a_spread_covers(n: int) -> None:
    low, high = spread_interval(1.0, n)
    sds = np.random.default_rng(9).normal(0, 1, (20_000, n)).std(axis=1, ddof=1)
    assert np.mean((sds * low <= 1) & (sds * high >= 1)) == pytest.approx(0.95, abs=0.007)
    expected = math.sqrt((n - 1) / scipy.stats.chi2.ppf(0.025, n - 1))
    assert high == pytest.approx(expected)
    with pytest.raises(ValueError, match="two values"):
        spread_interval(1.0, 1)
