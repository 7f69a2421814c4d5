from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from grng.diagnostics.spectrum import Product, largest_eigenvalue, normal_vector, signs, trace_estimate
from grng.diagnostics.vectors import Vector, dot


def symmetric(eigenvalues: list[float], seed: int = 0) -> Tensor:
    """A matrix with these eigenvalues and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    count = len(eigenvalues)
    basis, _ = torch.linalg.qr(torch.randn(count, count, generator=generator, dtype=torch.float64))
    matrix: Tensor = basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.mT
    return matrix


def product_with(matrix: Tensor) -> Product:
    """The matrix as an operator on vectors in two parts."""

    def product(vector: Vector) -> list[Tensor]:
        image = matrix @ torch.cat([part.reshape(-1) for part in vector])
        return [image[: vector[0].numel()].reshape(vector[0].shape), image[vector[0].numel() :]]

    return product


def start(count: int) -> list[Tensor]:
    like = [torch.zeros(2, 2, dtype=torch.float64), torch.zeros(count - 4, dtype=torch.float64)]
    return normal_vector(like, 1)


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [-9.0, -2.0, 0.0, 0.5, 1.0, 3.0],  # the largest, not the one of largest magnitude
        [-9.0, -8.0, -7.0, -3.0, -2.0, -1.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 5.0],
        [2.0] * 6,
        [1e-8, 1e-4, 1.0, 10.0, 100.0, 1e4],
    ],
)
def test_as_many_iterations_as_dimensions_give_the_largest_eigenvalue(eigenvalues: list[float]) -> None:
    found = largest_eigenvalue(product_with(symmetric(eigenvalues)), start(6), iterations=6)
    scale = max(map(abs, eigenvalues))
    assert found.value == pytest.approx(max(eigenvalues), rel=1e-9, abs=1e-12 * scale)
    assert found.error <= 1e-5 * scale


@pytest.mark.parametrize("iterations", [1, 2, 5, 10, 20, 40])
def test_an_eigenvalue_is_within_the_residual_and_none_is_passed(iterations: int) -> None:
    eigenvalues = [float(value) for value in torch.linspace(-3, 2, 59)] + [2.5]
    matrix = symmetric(eigenvalues)
    found = largest_eigenvalue(product_with(matrix), start(60), iterations=iterations)
    exact = torch.linalg.eigvalsh(matrix)
    assert found.value <= float(exact[-1]) + 1e-9
    assert float((exact - found.value).abs().min()) <= found.error + 1e-9
    if iterations == 40:
        assert found.value == pytest.approx(2.5, rel=1e-6)
        assert found.error < 1e-2


def test_many_more_iterations_than_dimensions_make_no_larger_eigenvalue() -> None:
    matrix = symmetric([float(value) for value in range(-20, 10)])
    found = largest_eigenvalue(product_with(matrix), start(30), iterations=200)
    assert found.value == pytest.approx(9.0, rel=1e-8)


def test_float32_vectors_do() -> None:
    matrix = symmetric([float(value) for value in range(30)])
    vector = [part.float() for part in start(30)]
    found = largest_eigenvalue(product_with(matrix.float()), vector, iterations=30)
    assert found.value == pytest.approx(29.0, rel=1e-4)


def test_the_zero_operator_has_the_eigenvalue_zero() -> None:
    found = largest_eigenvalue(product_with(torch.zeros(6, 6, dtype=torch.float64)), start(6), iterations=5)
    assert (found.value, found.error) == (0.0, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_operator_that_is_not_finite_has_no_eigenvalue(bad: float) -> None:
    matrix = symmetric([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    matrix[2, 3] = bad
    found = largest_eigenvalue(product_with(matrix), start(6), iterations=6)
    assert math.isnan(found.value)
    assert math.isnan(found.error)
    assert math.isnan(trace_estimate([1.0, bad]).value)


def test_the_estimate_of_a_trace_is_right_on_average_and_so_is_its_error() -> None:
    """Over all 2⁴ vectors of signs, every expectation is a finite sum."""
    matrix = symmetric([-1.0, 0.5, 2.0, 7.0], seed=3)
    every = [torch.tensor(z, dtype=torch.float64) for z in itertools.product((-1.0, 1.0), repeat=4)]
    forms = [float(z @ matrix @ z) for z in every]
    assert sum(forms) / 16 == pytest.approx(8.5, rel=1e-12)
    variance = sum((form - 8.5) ** 2 for form in forms) / 16
    off_diagonal = matrix - torch.diag(matrix.diagonal())
    assert variance == pytest.approx(2 * float(off_diagonal.square().sum()), rel=1e-12)
    # pairs of independent vectors: the squared error of the estimate has the variance of the mean as expectation
    errors = [trace_estimate([one, other]).error ** 2 for one in forms for other in forms]
    assert sum(errors) / 256 == pytest.approx(variance / 2, rel=1e-12)
    assert trace_estimate([3.0, 5.0]).value == 4.0


def test_signs_are_signs_and_the_same_again() -> None:
    like = [torch.zeros(300, 10), torch.zeros((), dtype=torch.float64)]
    one, again, other = signs(like, 1), signs(like, 1), signs(like, 2)
    assert set(torch.cat([part.reshape(-1).double() for part in one]).tolist()) == {-1.0, 1.0}
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert abs(dot(one, other)) < 5 * math.sqrt(3001), "independent"
    assert [part.dtype for part in one] == [torch.float32, torch.float64]
