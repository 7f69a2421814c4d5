"""Oracle 14: the paper's theory setting: a wide two-layer ReLU net, squared error, RING in its literal form."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from grng.optim.ring import RING
from tests.oracles.nets import half_squared_error, take_step


@pytest.mark.parametrize("rho", [0.1, 1.0])
def test_ring_reaches_zero_training_loss_at_a_geometric_rate(rho: float) -> None:
    torch.manual_seed(0)
    inputs = nn.functional.normalize(torch.randn(4, 8, dtype=torch.float64), dim=1)
    targets = torch.randn(4, 1, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(8, 64, bias=False), nn.ReLU(), nn.Linear(64, 1, bias=False)).double()
    optimizer = RING(
        model,
        lr=0.1,
        rho=rho,
        norm_scope="global",
        norm_ema=0.0,
        damping_form="exact",
        step_norm="none",
        momentum=0.0,
        momentum_form="step",
        other_parameters="diagonal",
        weight_decay=0.0,
        damping=1e-6,
        kl_clip=None,
        ema=0.0,
        curvature_interval=1,
        curvature_batch=1.0,
        inverse_interval=1,
        fisher="exact",
        likelihood="gaussian",
    )
    losses = [take_step(model, optimizer, inputs, targets, loss=half_squared_error) for _ in range(101)]
    assert losses[-1] < 1e-6
    assert all(after < before for before, after in itertools.pairwise(losses[:60]))
    # geometric: once λ_t = λ + ρ‖g‖² is small, every ten steps take the loss down by at least the same factor
    tail = [losses[step] for step in (30, 40, 50, 60)]
    assert all(after < 0.05 * before for before, after in itertools.pairwise(tail))
