"""When the factors move and when the inverses follow: `curvature_interval`, `inverse_interval`, and after a resume."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature.kronecker import damping_split
from grng.errors import GrngError
from grng.optimizers import create_optimizer
from tests.oracles.nets import class_batch, mlp, take_step

NAMES = ["kfac", "ring", "reng"]
EMA = 0.8
EVERY: dict[str, Any] = {"curvature_interval": 2, "curvature_batch": 1.0, "inverse_interval": 3, "ema": EMA}


def inverse(factor: Tensor, damping: Tensor) -> Tensor:
    result: Tensor = torch.linalg.inv(factor + damping * torch.eye(len(factor), dtype=factor.dtype))
    return result


@pytest.mark.parametrize("name", NAMES)
def test_factors_move_every_second_step_and_inverses_follow_every_third(name: str) -> None:
    model = mlp()
    optimizer: Any = create_optimizer(name, model, **EVERY)
    weight = model.get_parameter("0.weight")
    average, updates = torch.zeros(6, 6, dtype=torch.float64), 0
    expected: dict[str, Tensor] = {}
    for step in range(8):
        inputs, targets = class_batch(seed=step)
        assert optimizer.curvature_due == (step % 2 == 0)
        take_step(model, optimizer, inputs, targets)
        state = optimizer.state[weight]
        if step % 2 == 0:
            rows = torch.cat([inputs, torch.ones(6, 1, dtype=torch.float64)], dim=1)
            average, updates = EMA * average + (1 - EMA) * rows.mT @ rows / 6, updates + 1
        torch.testing.assert_close(state["A"][0], average)
        if step == 0 or step % 3 == optimizer._phases[weight]:
            a, g = average / (1 - EMA**updates), state["G"][0] / (1 - EMA**updates)
            pi, root = damping_split(a[None], g[None], 1)[0], state["damping"].sqrt()
            expected = {"A_inverse": inverse(a, pi * root), "G_inverse": inverse(g, root / pi)}
        for key, value in expected.items():
            torch.testing.assert_close(state[key][0], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_only_a_step_that_moves_the_factors_needs_to_be_observed(name: str) -> None:
    model = mlp()
    optimizer: Any = create_optimizer(name, model, **EVERY)
    inputs, targets = class_batch()

    def step_unobserved() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward(create_graph=optimizer.is_second_order)
        optimizer.step()

    take_step(model, optimizer, inputs, targets)
    step_unobserved()
    with pytest.raises(GrngError, match="observe was not called"):
        step_unobserved()


@pytest.mark.parametrize("name", NAMES)
def test_the_intervals_go_on_after_a_resume(name: str) -> None:
    def run(model: nn.Module, optimizer: Any, steps: range) -> None:
        for step in steps:
            take_step(model, optimizer, *class_batch(seed=step))

    straight, first, second = mlp(), mlp(), mlp()
    run(straight, create_optimizer(name, straight, **EVERY), range(8))
    begun = create_optimizer(name, first, **EVERY)
    run(first, begun, range(5))
    second.load_state_dict(first.state_dict())
    resumed = create_optimizer(name, second, **EVERY)
    resumed.load_state_dict(begun.state_dict())
    run(second, resumed, range(5, 8))
    for mine, theirs in zip(second.parameters(), straight.parameters(), strict=True):
        assert torch.equal(mine, theirs)
