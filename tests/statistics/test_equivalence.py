from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from grng.statistics import equivalence_test

differences = st.lists(st.integers(-50, 50).map(lambda value: value / 1000), min_size=2, max_size=10)


@given(differences.filter(lambda values: len(set(values)) > 1), st.floats(0.001, 0.05))
def test_it_is_the_larger_p_of_two_one_sided_t_tests(values: list[float], margin: float) -> None:
    made = equivalence_test(values, margin)
    above = scipy.stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, margin, alternative="less").pvalue
    assert made is not None
    assert made.p == pytest.approx(max(above, below), abs=1e-12)
    assert made.p_beyond == pytest.approx(1 - made.p)
    ninety = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (made.low, made.high) == pytest.approx((ninety.low, ninety.high), abs=1e-12)
    if abs(made.p - 0.05) > 1e-9:
        assert (made.p < 0.05) == (-margin < made.low and made.high < margin)


@given(differences, st.floats(0.001, 0.05))
def test_direction_does_not_matter_and_a_wider_margin_is_easier(values: list[float], margin: float) -> None:
    made = equivalence_test(values, margin)
    turned = equivalence_test([-value for value in values], margin)
    wider = equivalence_test(values, 2 * margin)
    assert made is not None
    assert turned is not None
    assert wider is not None
    assert made.p == pytest.approx(turned.p, abs=1e-12)
    assert wider.p <= made.p + 1e-12


def test_things_that_differ_by_the_margin_are_called_equivalent_at_most_as_often_as_said() -> None:
    samples = np.random.default_rng(0).normal(0.005, 0.004, (2000, 5))
    made = [equivalence_test(sample.tolist(), 0.005) for sample in samples]
    wrong = np.mean([one is not None and one.p < 0.05 for one in made])
    assert wrong < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_equivalence_without_spread_or_answer() -> None:
    assert equivalence_test([0.1], 0.2) is None
    inside, outside = equivalence_test([0.1, 0.1], 0.2), equivalence_test([0.1, 0.1], 0.1)
    assert inside is not None
    assert outside is not None
    assert (inside.p, inside.p_beyond, outside.p, outside.p_beyond) == (0.0, 1.0, 1.0, 0.0)
    for margin in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="margin"):
            equivalence_test([0.1, 0.2], margin)
    with pytest.raises(ValueError, match="significance"):
        equivalence_test([0.1, 0.2], 0.1, significance=0.5)
