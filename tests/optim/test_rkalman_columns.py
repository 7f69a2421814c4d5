"""Reading rows in pieces gives what one product over all of them gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from grng.curvature.scratch import Scratch
from grng.optim import rkalman_columns, rkalman_posterior
from grng.optim.rkalman_columns import columns_of, spread, weighted_sums
from grng.optim.rkalman_posterior import Posterior

SHAPES = ((5, 7), (3,), (), (4, 2, 3))


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rkalman_columns, "PIECE", 8)
    monkeypatch.setattr(rkalman_columns, "SMALL", 10)


def _case(*, block: bool) -> tuple[dict[nn.Parameter, Tensor], dict[nn.Parameter, Tensor]]:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in SHAPES]
    rows = {p: torch.randn(6, *p.shape, dtype=torch.float64) for p in parameters}
    return rows, {p: torch.rand(() if block else p.shape, dtype=torch.float64) for p in parameters}


@pytest.mark.parametrize("block", [False, True])
def test_the_spread_of_the_rows_is_that_of_the_joined_matrix(*, block: bool) -> None:
    rows, covariance = _case(block=block)
    whole = torch.cat([own.reshape(6, -1) for own in rows.values()], dim=1)
    variances = torch.cat([covariance[p].expand(p.shape).reshape(-1) for p in rows])
    every = columns_of(rows, covariance)
    assert len(every) == 3  # two large ones, and the small ones side by side
    found = spread(every, Scratch(), like=torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(found, whole @ torch.diag(variances) @ whole.mT)


@pytest.mark.parametrize("asked", ["rotation", "scales", None])
def test_weighted_sums_and_squares_are_those_of_each_parameter(asked: str | None) -> None:
    rows, covariance = _case(block=False)
    weights, scales = torch.randn(6, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    rotation = torch.randn(6, 6, dtype=torch.float64)
    scratch, seen = Scratch(), set()
    for columns in columns_of(rows, covariance):
        given = {"rotation": rotation} if asked == "rotation" else {"scales": scales} if asked else {}
        total, squares = weighted_sums(columns, weights, scratch, **given)
        sums = columns.split(total)
        for p in columns.parameters:
            torch.testing.assert_close(sums[p], torch.einsum("r,r...->...", weights, rows[p]))
            seen.add(p)
        if squares is None:
            assert asked is None
            continue
        for p, found in columns.split(squares).items():
            own = torch.einsum("ij,j...->i...", rotation, rows[p]) if asked == "rotation" else rows[p]
            factors = torch.ones(6, dtype=torch.float64) if asked == "rotation" else scales
            torch.testing.assert_close(found, torch.einsum("r,r...->...", factors, own.square()))
    assert seen == set(rows)


def test_a_posterior_that_reads_its_rows_in_pieces_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(piece: int) -> list[Tensor]:
        monkeypatch.setattr(rkalman_posterior, "PIECE", piece)
        generator = torch.Generator().manual_seed(0)
        weight = nn.Parameter(torch.zeros(5, 7, dtype=torch.float64))
        states: dict[nn.Parameter, dict[str, object]] = {weight: {}}
        found = []
        for rows in (2, 1, 2, 2):  # one block is not full
            fresh = torch.randn(rows, 5, 7, generator=generator, dtype=torch.float64)
            vector = torch.randn(5, 7, generator=generator, dtype=torch.float64)
            posterior = Posterior(states, rho=0.1, rows=2, memory=3)
            found.append(posterior.steps({weight: vector}, {weight: fresh}, [3] * rows)[weight])
        return found

    for one, other in zip(steps(4), steps(1000), strict=True):
        torch.testing.assert_close(one, other)
