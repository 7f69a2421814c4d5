"""Oracle 18: over shapes, dtypes, groups, frozen and unused parameters: no NaN, no crash, frozen ones untouched."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from grng.optim.registry import REGISTRY
from grng.optimizers import create_optimizer
from tests.oracles.nets import take_step

CHOICES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in REGISTRY),
    ("r-kalman", {"observation": "loss"}),
    ("r-kalman", {"filter_scope": "global", "rows": 3}),
    ("r-kalman", {"observation": "outputs"}),
    ("r-kalman", {"rows": 2, "memory": 2, "curvature_batch": 1.0}),
    ("r-kalman", {"rows": 2, "memory": 2, "curvature_batch": 0.6}),
]


class Drawn(nn.Module):
    def __init__(
        self, channels: int, groups: int, kernel: int, stride: int, classes: int, bias: bool, norm: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            channels * groups, 2 * groups, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias
        )
        self.norm = nn.BatchNorm2d(2 * groups) if norm else nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(2 * groups, 3, 1, bias=not bias)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(3, classes, bias=bias)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.conv2(self.act(self.norm(self.conv1(x)))).mean(dim=(2, 3)) * self.scale)
        return out


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    choice=st.sampled_from(CHOICES),
    channels=st.integers(1, 3),
    groups=st.integers(1, 3),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    classes=st.integers(2, 5),
    batch=st.integers(2, 5),
    size=st.integers(2, 7),
    double=st.booleans(),
    bias=st.booleans(),
    norm=st.booleans(),
    frozen=st.sets(st.sampled_from(["conv1", "conv2", "head", "norm"]), max_size=2),
    frozen_bias=st.booleans(),
    channels_last=st.booleans(),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 1e3]),
    seed=st.integers(0, 100),
)
def test_three_steps_stay_finite(
    choice: tuple[str, dict[str, Any]],
    channels: int,
    groups: int,
    kernel: int,
    stride: int,
    classes: int,
    batch: int,
    size: int,
    double: bool,
    bias: bool,
    norm: bool,
    frozen: set[str],
    frozen_bias: bool,
    channels_last: bool,
    scale: float,
    seed: int,
) -> None:
    # torch 2.14 writes past its memory in the backward of such a convolution with two or three channels, without us.
    assume(not (channels_last and kernel == 1 and stride == 2))
    torch.manual_seed(seed)
    model: Any = Drawn(channels, groups, kernel, stride, classes, bias, norm)
    model = model.double() if double else model
    model = model.to(memory_format=torch.channels_last) if channels_last else model
    for module in frozen:
        getattr(model, module).requires_grad_(False)
    if frozen_bias and model.head.bias is not None:
        model.head.bias.requires_grad_(False)
    kept = {
        key: p.detach().clone()
        for key, p in model.named_parameters()
        if not p.requires_grad or key.startswith("unused")
    }
    name, options = choice
    optimizer: Any = create_optimizer(name, model, **options)
    optimizer.collect_diagnostics = True
    images = scale * torch.randn(batch, channels * groups, size, size).to(torch.float64 if double else torch.float32)
    labels = torch.randint(0, classes, (batch,))
    for _ in range(3):
        take_step(model, optimizer, images, labels)
    for key, p in model.named_parameters():
        assert torch.isfinite(p).all(), key
        assert key not in kept or torch.equal(p, kept[key]), key
    assert all(value == value for value in optimizer.diagnostics().values())


def test_diagnostics_of_a_step_that_explodes_are_numbers() -> None:
    torch.manual_seed(0)
    model = Drawn(1, 1, 1, 1, 3, False, False)
    optimizer: Any = create_optimizer("sgd", model)
    optimizer.collect_diagnostics = True
    images, labels = 1e3 * torch.randn(2, 1, 2, 2), torch.randint(0, 3, (2,))
    for _ in range(3):
        take_step(model, optimizer, images, labels)
    values = optimizer.diagnostics()
    assert values["gradient_norm"] > 1e10
    assert values["cosine_gradient"] == pytest.approx(1.0)
    assert all(math.isfinite(value) for value in values.values()), values
