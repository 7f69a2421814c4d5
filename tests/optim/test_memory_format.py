"""Channels-last models take the steps of contiguous ones, and their parameters and states stay channels-last."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.optim.test_contract import VARIANTS, make
from tests.oracles.nets import SmallCNN, class_batch, take_step

OURS = [variant for variant in VARIANTS if not variant.startswith("timm:")]
FORMATS = (torch.contiguous_format, torch.channels_last)


class WideCNN(SmallCNN):
    """With a 1×1 convolution on channels-last images, and weights of which both formats differ in their strides."""

    def __init__(self) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(4, 4, 1, stride=2).double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm(self.conv1(x)))
        x = x + F.interpolate(self.pointwise(x), x.shape[2:])
        x = self.act2(self.conv2(x)) * self.scale
        out: Tensor = self.head(self.act3(self.depthwise(x)).mean(dim=(2, 3)))
        return out


def trained(variant: str, memory_format: Any, *, steps: int) -> tuple[WideCNN, Any]:
    torch.manual_seed(0)
    model = WideCNN().to(memory_format=memory_format)
    optimizer = make(variant, model)
    for seed in range(steps):
        # as many samples as make every factor regular: the eigenbasis of a singular one is arbitrary
        inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=24, seed=seed)
        take_step(model, optimizer, inputs.contiguous(memory_format=memory_format), targets)
    return model, optimizer


@pytest.mark.parametrize("variant", OURS)
def test_channels_last_takes_the_same_steps(variant: str) -> None:
    for steps, tolerance in ((1, 1e-10), (4, 1e-8)):
        contiguous, channels_last = (trained(variant, memory_format, steps=steps)[0] for memory_format in FORMATS)
        for (name, mine), theirs in zip(channels_last.named_parameters(), contiguous.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance, msg=f"{name} after {steps}")


@pytest.mark.parametrize("variant", OURS)
def test_parameters_and_their_state_stay_channels_last(variant: str) -> None:
    model, optimizer = trained(variant, torch.channels_last, steps=3)
    convolutions = [p for p in model.parameters() if p.dim() == 4]
    assert len(convolutions) == 4
    for p in convolutions:
        assert p.is_contiguous(memory_format=torch.channels_last)
        for key, value in optimizer.state[p].items():
            if isinstance(value, Tensor) and value.shape == p.shape:
                assert value.is_contiguous(memory_format=torch.channels_last), key
