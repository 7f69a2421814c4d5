from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grng.statistics import performance_profiles, profile_shares

costs = st.one_of(st.floats(0.1, 100), st.just(math.inf))
tables = st.integers(1, 5).flatmap(
    lambda workloads: st.dictionaries(
        st.sampled_from(["adamw", "ring", "kfac", "sgd"]),
        st.lists(costs, min_size=workloads, max_size=workloads),
        min_size=1,
    )
)


def algoperf(
    table: Mapping[str, Sequence[float]], largest: float, points: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """AlgoPerf's scoring, written from section 4.2 of Dahl et al. 2023: r = t / min t; ρ(τ) = |{w: r ≤ τ}| / |w|;
    the score is the integral of ρ from 1 to the largest τ over its length, by trapezoids."""
    workloads = len(next(iter(table.values())))
    grid = [1 + (largest - 1) * k / (points - 1) for k in range(points)]
    profiles: dict[str, list[float]] = {}
    for name, times in table.items():
        ratios = []
        for workload in range(workloads):
            fastest = min(other[workload] for other in table.values())
            reached = math.isfinite(times[workload])
            ratios.append(times[workload] / fastest if reached else math.inf)
        profiles[name] = [sum(ratio <= tau for ratio in ratios) / workloads for tau in grid]
    scores = {
        name: sum((profile[k] + profile[k + 1]) / 2 * (grid[k + 1] - grid[k]) for k in range(points - 1))
        / (largest - 1)
        for name, profile in profiles.items()
    }
    return profiles, scores


@given(tables, st.sampled_from([(4.0, 100), (2.0, 7), (10.0, 2)]))
def test_profiles_and_scores_are_algoperfs(table: dict[str, list[float]], size: tuple[float, int]) -> None:
    largest, points = size
    made = performance_profiles(table, largest=largest, points=points)
    profiles, scores = algoperf(table, largest, points)
    assert made.scores == pytest.approx(scores, abs=1e-12)
    # At a τ that a ratio equals to all digits rounding decides, on either side.
    assert sum(a != b for name in table for a, b in zip(made.shares[name], profiles[name], strict=True)) <= 1


@settings(max_examples=30)
@given(tables)
def test_the_score_is_the_area_below_the_steps_to_within_the_grid(table: dict[str, list[float]]) -> None:
    """The profile is a step function: a workload with ratio r adds (4 - r) / 3 / workloads to the area, exactly. A
    trapezoid is off by at most half a cell of the grid for each step, and steps add up to 1."""
    made = performance_profiles(table)
    workloads = len(next(iter(table.values())))
    for name, times in table.items():
        area = 0.0
        for workload, time in enumerate(times):
            fastest = min(other[workload] for other in table.values())
            if math.isfinite(time) and time <= 4 * fastest:
                area += (4 - time / fastest) / 3 / workloads
        assert made.scores[name] == pytest.approx(area, abs=0.5 / 99 + 1e-9)


@settings(max_examples=30)
@given(tables, st.lists(st.floats(1, 10), min_size=1, max_size=3))
def test_shares_at_any_factor_are_counted(table: dict[str, list[float]], taus: list[float]) -> None:
    shares = profile_shares(table, taus)
    for name, times in table.items():
        fastest = [min(other[w] for other in table.values()) for w in range(len(times))]
        for tau, share in zip(taus, shares[name], strict=True):
            near = [t / best <= tau for t, best in zip(times, fastest, strict=True) if math.isfinite(t)]
            assert share == pytest.approx(sum(near) / len(times))


def test_a_profile_by_hand() -> None:
    made = performance_profiles({"ring": [50.0, 30.0, math.inf], "adamw": [100.0, 20.0, math.inf]}, points=7)
    assert made.taus == (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    assert made.shares["ring"] == pytest.approx([1 / 3, *[2 / 3] * 6]), "1 on the first workload, 1.5 on the second"
    assert made.shares["adamw"] == pytest.approx([1 / 3, 1 / 3, *[2 / 3] * 5]), "2 and 1"
    assert profile_shares({"ring": [50.0, 30.0], "adamw": [100.0, 20.0]}, [1, 1.5, 2])["ring"] == (0.5, 1.0, 1.0)
    assert made.scores["ring"] == pytest.approx((2 / 3 * 3 - 1 / 3 * 0.25) / 3)


@given(tables)
def test_profiles_rise_and_one_of_them_is_the_fastest_where_anybody_is(table: dict[str, list[float]]) -> None:
    made = performance_profiles(table)
    assert all(list(shares) == sorted(shares) for shares in made.shares.values())
    reached = [any(math.isfinite(times[w]) for times in table.values()) for w in range(len(next(iter(table.values()))))]
    assert sum(shares[0] for shares in made.shares.values()) >= np.mean(reached) - 1e-12
    assert all(0 <= score <= 1 for score in made.scores.values())


@pytest.mark.parametrize(
    "table", [{}, {"a": []}, {"a": [1.0], "b": [1.0, 2.0]}, {"a": [0.0]}, {"a": [-1.0]}, {"a": [math.nan]}]
)
def test_costs_without_a_profile_are_refused(table: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="performance_profiles"):
        performance_profiles(table)


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="largest"):
        performance_profiles({"a": [1.0]}, largest=1.0)
