"""Oracle 8: Newton's inverse equals Cholesky's at condition 1 to 1e6, warm and cold; what has none is reported."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from grng.curvature.inverse import cholesky_inverse, damped_inverse, eigen_inverse, eigenbasis, newton_inverse


def spd(condition: float, *, size: int = 12, groups: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(groups, size, size, dtype=torch.float64))
    values = torch.logspace(0, -torch.log10(torch.tensor(condition)).item(), size, dtype=torch.float64)
    matrix: Tensor = (basis * values @ basis.mT).to(dtype)
    return matrix


@pytest.mark.parametrize("condition", [1.0, 1e1, 1e3, 1e6])
def test_newton_equals_cholesky_from_a_cold_start(condition: float) -> None:
    matrix = spd(condition)
    expected = torch.linalg.inv(matrix)
    found, report = newton_inverse(matrix)
    assert report.converged
    assert torch.linalg.matrix_norm(found - expected).max() / torch.linalg.matrix_norm(expected).max() < 1e-8
    by_cholesky = cholesky_inverse(matrix)
    assert by_cholesky is not None
    torch.testing.assert_close(by_cholesky, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
def test_newton_from_a_warm_start_needs_fewer_iterations(condition: float) -> None:
    matrix = spd(condition)
    expected = torch.linalg.inv(matrix)
    _, cold = newton_inverse(matrix)
    start = expected * (1 + 1e-3)
    found, warm = newton_inverse(matrix, start)
    assert torch.linalg.matrix_norm(found - expected).max() / torch.linalg.matrix_norm(expected).max() < 1e-8
    assert warm.iterations <= 3
    assert cold.iterations >= warm.iterations or condition == 1.0


def test_newton_ignores_a_start_that_would_diverge() -> None:
    matrix = spd(100.0)
    found, report = newton_inverse(matrix, -torch.linalg.inv(matrix))
    assert report.converged
    torch.testing.assert_close(found @ matrix, torch.eye(12, dtype=torch.float64).expand_as(matrix), rtol=0, atol=1e-8)


def test_newton_reports_a_matrix_that_is_not_positive_definite() -> None:
    matrix = spd(10.0) - 0.5 * torch.eye(12, dtype=torch.float64)
    found, report = newton_inverse(matrix)
    assert not report.converged
    assert torch.isfinite(found).all()


def test_newton_in_single_precision_stops_where_rounding_stops_it() -> None:
    matrix = spd(1e4, dtype=torch.float32)
    found, report = newton_inverse(matrix)
    assert report.converged
    assert report.iterations < 60
    assert torch.linalg.matrix_norm(torch.eye(12) - matrix @ found).max() < 0.05


@pytest.mark.parametrize("method", ["newton", "cholesky", "eigh"])
def test_every_method_inverts_the_damped_matrix(method: str) -> None:
    matrix = spd(1e3)
    matrix[:, -1] = matrix[:, :, -1] = 0.0  # rank-deficient, as factors with few positions are
    damping = torch.tensor([1e-2, 1e-1], dtype=torch.float64)
    found, _ = damped_inverse(matrix, damping, method=method)
    assert found is not None
    expected = torch.linalg.inv(matrix + damping[:, None, None] * torch.eye(12, dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_a_matrix_that_cannot_be_inverted_is_reported_and_never_raises() -> None:
    nan = torch.full((1, 3, 3), float("nan"))
    assert damped_inverse(nan, torch.ones(1), method="newton") == (None, None)
    assert cholesky_inverse(-torch.eye(3)[None]) is None
    assert eigen_inverse(-torch.eye(3)[None]) is None
    assert eigenbasis(nan) is None
    found, report = damped_inverse(-10 * torch.eye(3)[None], torch.ones(1), method="newton")
    assert found is None
    assert report is not None
    assert not report.converged


def test_eigenbasis_retries_with_a_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, real, calls = spd(10.0), torch.linalg.eigh, []

    def fails_once(values: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(values)
        if len(calls) == 1:
            raise RuntimeError("linalg.eigh: failed to converge")
        found: tuple[Tensor, Tensor] = real(values)
        return found

    monkeypatch.setattr(torch.linalg, "eigh", fails_once)
    pair = eigenbasis(matrix)
    assert pair is not None
    assert len(calls) == 2
    rebuilt = pair[1] * pair[0][:, None, :] @ pair[1].mT
    torch.testing.assert_close(rebuilt, matrix, rtol=1e-9, atol=1e-12)
