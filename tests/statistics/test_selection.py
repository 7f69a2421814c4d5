from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grng.statistics import best_of

scores = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=9)


@given(scores.flatmap(lambda values: st.tuples(st.just(values), st.integers(1, len(values)))), st.booleans())
def test_it_is_the_mean_over_all_subsets_and_the_band_holds_its_share(
    given_: tuple[list[float], int], maximise: bool
) -> None:
    values, k = given_
    made = best_of(values, k, maximise=maximise)
    bests = [(max if maximise else min)(subset) for subset in itertools.combinations(values, k)]
    assert made.mean == pytest.approx(np.mean(bests), abs=1e-9)
    assert sum(made.low <= best <= made.high for best in bests) >= 0.8 * len(bests) - 1e-9
    inner = sum(made.low < best < made.high for best in bests)
    assert inner <= 0.8 * len(bests) + 1e-9, "no wider than it must be"


def test_the_ends_are_a_mean_trial_and_the_best_one() -> None:
    values = [0.1, 0.9, 0.5]
    assert best_of(values, 1).mean == pytest.approx(0.5)
    assert (best_of(values, 3).mean, best_of(values, 3).low, best_of(values, 3).high) == pytest.approx((0.9,) * 3)
    assert best_of(values, 3, maximise=False).mean == pytest.approx(0.1)


def test_many_trials_do_not_overflow() -> None:
    made = best_of([float(k) for k in range(2000)], 1000)
    # The largest of k of 0 … n-1 has mean k (n + 1) / (k + 1) - 1.
    assert made.mean == pytest.approx(1000 * 2001 / 1001 - 1, rel=1e-6)


@pytest.mark.parametrize(("values", "k"), [([], 1), ([1.0], 0), ([1.0], 2), ([math.nan], 1)])
def test_what_has_no_best_is_refused(values: list[float], k: int) -> None:
    with pytest.raises(ValueError, match="best_of"):
        best_of(values, k)
