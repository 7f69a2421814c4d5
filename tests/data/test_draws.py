from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from grng.data.draws import uniforms

SPLITMIX64_1234567 = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)
"""The published first outputs of SplitMix64 with the seed 1234567."""


def test_they_are_splitmix64s_published_numbers() -> None:
    drawn = uniforms(1234567, np.array([0]), 5)[0]
    assert drawn.tolist() == [(number >> 11) / 2**53 for number in SPLITMIX64_1234567]


def test_a_samples_numbers_depend_on_nothing_else() -> None:
    together = uniforms(7, np.array([5, 900_000, 0, 5]), 44)
    assert np.array_equal(together[0], together[3])
    for row, sample in enumerate((5, 900_000, 0)):
        assert np.array_equal(uniforms(7, np.array([sample]), 3)[0], together[row, :3])


def test_they_are_uniform_and_unrelated_between_samples_and_streams() -> None:
    samples = np.arange(3000)
    one, other = uniforms(1, samples, 8), uniforms(2, samples, 8)
    assert stats.kstest(one.ravel(), "uniform").pvalue > 0.01
    for left, right in ((one[:-1, 0], one[1:, 0]), (one[:, 0], one[:, 1]), (one[:, 0], other[:, 0])):
        assert abs(np.corrcoef(left, right)[0, 1]) < 0.06
    assert len(np.unique(one)) == one.size


def test_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 256"):
        uniforms(0, np.array([0]), 257)
