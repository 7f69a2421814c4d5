from __future__ import annotations

import math

import numpy as np
import pytest

from grng.statistics import effect_size, win_share


def test_the_effect_size_by_hand() -> None:
    differences = [0.02, 0.01, 0.005, 0.015]
    plain = np.mean(differences) / np.std(differences, ddof=1)
    # m = 3: Γ(3/2) / (√(3/2) Γ(1)) = (√π / 2) / √(3/2) = 0.7236, as in Hedges 1981, table 1 (c(3) = 0.7236).
    assert effect_size(differences) == pytest.approx(plain * 0.7236, rel=1e-4)
    assert effect_size([-d for d in differences]) == pytest.approx(-plain * 0.7236, rel=1e-4)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_correction_takes_the_bias_out(n: int) -> None:
    samples = np.random.default_rng(5).normal(1.0, 1.0, (20_000, n))
    plain = samples.mean(axis=1) / samples.std(axis=1, ddof=1)
    first = effect_size(samples[0].tolist())
    assert first is not None
    corrected = plain * (first / plain[0])
    # With three pairs the quotient has no variance; its median-trimmed mean is enough to see a factor of 1.77.
    tolerance = 0.12 if n == 3 else 5 * corrected.std() / math.sqrt(len(corrected))
    assert abs(corrected.mean() - 1.0) < tolerance < abs(plain.mean() - 1.0)


def test_differences_without_a_size() -> None:
    assert effect_size([0.1]) is None
    assert effect_size([0.1, 0.2]) is None, "the correction for two pairs is zero"
    assert effect_size([0.1, 0.1, 0.1]) is None
    with pytest.raises(ValueError, match="finite"):
        effect_size([math.nan])


def test_the_share_of_wins_counts_ties_half() -> None:
    assert win_share([0.1, 0.2, -0.1, 0.0]) == 0.625
    assert win_share([0.0]) == 0.5
