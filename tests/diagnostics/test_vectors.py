from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from grng.diagnostics.vectors import cosine, dot, less, norm, pearson


def vectors(seed: int, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[Tensor]]:
    """Two related vectors whose means are not zero, in three tensors each."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((3, 4), (5,), ())
    one = [torch.randn(shape, generator=generator, dtype=torch.float64) + 2.0 for shape in shapes]
    other = [0.3 * a + torch.randn(a.shape, generator=generator, dtype=torch.float64) - 1.0 for a in one]
    return [a.to(dtype) for a in one], [b.to(dtype) for b in other]


def joined(vector: list[Tensor]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.concatenate([tensor.double().numpy().ravel() for tensor in vector])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sums_are_those_of_numpy_over_all_entries_at_once(seed: int, dtype: torch.dtype) -> None:
    left, right = vectors(seed, dtype)
    a, b = joined(left), joined(right)
    assert dot(left, right) == pytest.approx(a @ b, rel=1e-12)
    assert norm(left) == pytest.approx(np.linalg.norm(a), rel=1e-12)
    assert cosine(left, right) == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-12)
    assert pearson(left, right) == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-11)
    if seed == 0:
        assert pearson(left, right) != pytest.approx(cosine(left, right), rel=0.1), "the means matter"


def test_a_correlation_is_the_same_for_any_scale_and_shift() -> None:
    left, right = vectors(0)
    assert pearson([3.0 * a - 7.0 for a in left], right) == pytest.approx(pearson(left, right), rel=1e-12)
    assert pearson([-0.5 * a for a in left], right) == pytest.approx(-pearson(left, right), rel=1e-12)
    assert pearson(left, left) == pytest.approx(1.0, rel=1e-14)


def test_small_numbers_are_summed_without_loss() -> None:
    many = [torch.full((1_000_000,), 1e-4, dtype=torch.float32), torch.tensor([1e4])]
    expected = math.sqrt(1_000_000 * float(torch.tensor(1e-4).double()) ** 2 + 1e8)
    assert norm(many) == pytest.approx(expected, rel=1e-13)


def test_what_has_no_value_is_not_a_number() -> None:
    some, zeros, constant = [torch.tensor([1.0, 2.0])], [torch.zeros(2)], [torch.ones(2)]
    broken = [torch.tensor([1.0, math.nan])]
    assert math.isnan(cosine(some, zeros))
    assert math.isnan(pearson(some, constant))
    assert math.isnan(pearson(some, broken))
    assert math.isnan(norm(broken))
    assert math.isnan(cosine(some, [torch.tensor([1.0, math.inf])]))


def test_a_difference_is_entry_by_entry() -> None:
    (found,) = less([torch.tensor([3.0, 1.0])], [torch.tensor([1.0, 4.0])])
    assert found.tolist() == [2.0, -3.0]
