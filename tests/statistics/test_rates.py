from __future__ import annotations

import math

import numpy as np
import pytest

from grng.statistics import geometric_rate, steps_to
from grng.statistics.rates import falling_range


@pytest.mark.parametrize("scale", [1e-3, 0.7, 1e3])
@pytest.mark.parametrize("factor", [0.004, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("steps", [5, 200])
def test_a_geometric_series_has_its_own_factor(factor: float, scale: float, steps: int) -> None:
    losses = [scale * factor**step for step in range(steps)]
    rate = geometric_rate(losses)
    above = [loss for loss in losses if loss > 1e-10 * scale]
    if len(above) < 5:
        assert rate is None
        return
    assert rate is not None
    assert rate.factor == pytest.approx(factor, rel=1e-9)
    assert rate.error < 1e-6
    assert (rate.first, rate.last) == (0, len(above) - 1)


def test_the_standard_error_is_that_of_repeated_noise() -> None:
    generator = np.random.default_rng(0)
    steps = np.arange(60)
    found = []
    for _ in range(400):
        rate = geometric_rate((0.9**steps * np.exp(generator.normal(0, 0.05, 60))).tolist(), rounding=0.0)
        assert rate is not None
        found.append((rate.factor, rate.error))
    factors, errors = np.array(found).T
    assert factors.mean() == pytest.approx(0.9, abs=4 * factors.std() / 20)
    assert errors.mean() == pytest.approx(factors.std(), rel=0.15)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.9])
def test_gradient_descent_on_a_linear_problem_has_its_closed_form_rate(rate: float) -> None:
    """½ r λ r under r ← (1 − η λ) r: the loss is multiplied by (1 − η λ)²."""
    curvature, residual, losses = 0.8, 3.0, []
    for _ in range(40):
        losses.append(0.5 * curvature * residual**2)
        residual -= rate * curvature * residual
    fitted = geometric_rate(losses)
    assert fitted is not None
    assert fitted.factor == pytest.approx((1 - rate * curvature) ** 2, rel=1e-9)


def test_late_is_the_rate_of_the_smallest_eigenvalue() -> None:
    """Of two eigenvalues the small one's rate is left in the end; over the whole way it is a mixture."""
    fast, slow = 0.3, 0.95
    losses = [fast ** (2 * step) + 1e-2 * slow ** (2 * step) for step in range(200)]
    whole, late = geometric_rate(losses), geometric_rate(losses, late=True)
    assert whole is not None
    assert late is not None
    assert late.factor == pytest.approx(slow**2, rel=1e-6)
    assert whole.factor != pytest.approx(slow**2, rel=1e-3)
    assert late.r_squared > whole.r_squared
    assert late.first > whole.first


def test_only_the_part_that_falls_is_fitted() -> None:
    """Up first, then down, then at the floor of rounding and up again."""
    falling = [0.5**step for step in range(20)]
    assert falling_range([0.3, 0.7, *falling, 1e-5, 2e-5, 1.0]) == (2, 21)
    assert falling_range([1.0, 0.1, 1e-11, 1e-3]) == (0, 1), "from the first that is lost in rounding on nothing counts"
    assert falling_range([1.0, 2.0, 4.0]) == (0, 0)
    assert falling_range([]) == (0, 0)
    assert falling_range([0.0, 0.0]) == (0, 0)
    assert geometric_rate([1.0, 2.0, 4.0, 8.0, 16.0]) is None


@pytest.mark.parametrize("losses", [[1.0, math.nan], [1.0, -0.1]])
def test_what_is_no_loss_is_refused(losses: list[float]) -> None:
    with pytest.raises(ValueError, match="losses must be numbers"):
        geometric_rate(losses)


def test_steps_to_a_share_of_the_first_loss() -> None:
    assert steps_to([2.0, 1.0, 0.2, 0.02], 0.1) == 2
    assert steps_to([2.0, 1.0], 0.1) is None
