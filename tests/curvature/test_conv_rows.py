"""A convolution's rows by a grouped convolution are the weight gradients of the groups of samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from grng.curvature.conv_rows import convolution_rows, suits
from grng.curvature.sample_groups import SampleGroups


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.Conv2d, {"padding": 1}),
        (nn.Conv2d, {"stride": 2, "padding": (0, 2), "dilation": (2, 1)}),
        (nn.Conv2d, {"groups": 2, "padding": 1, "bias": False}),
        (nn.Conv2d, {"padding": "same", "dilation": 2}),
        (nn.Conv2d, {"padding": 1, "padding_mode": "reflect"}),
        (Conv2dSame, {"stride": 2}),
    ],
)
def test_every_row_is_the_weight_gradient_of_its_samples(kind: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = kind(4, 6, 3, **options).double()
    groups = SampleGroups.split(6, 3)
    inputs = torch.randn(6, 4, 17, 16, dtype=torch.float64)
    gradient = torch.randn_like(module(inputs))
    assert suits(module, gradient, groups)
    rows = convolution_rows(module, inputs, gradient, groups)
    for group, row in enumerate(rows):
        own = slice(2 * group, 2 * group + 2)
        (expected,) = torch.autograd.grad(module(inputs[own]), module.weight, gradient[own])
        torch.testing.assert_close(row, expected)


def test_unequal_groups_few_positions_and_single_pixels_take_the_other_way() -> None:
    module, gradient = nn.Conv2d(2, 3, 3), torch.zeros(6, 3, 8, 8)
    assert suits(module, gradient, SampleGroups.split(6, 3))
    assert not suits(module, gradient, SampleGroups.split(6, 4))
    assert not suits(module, gradient[:, :, :2, :2], SampleGroups.split(6, 3))
    assert not suits(nn.Conv2d(2, 3, 1), gradient, SampleGroups.split(6, 3))
    assert not suits(module, gradient, SampleGroups.split(12, 3))  # a layer that sees no batch
