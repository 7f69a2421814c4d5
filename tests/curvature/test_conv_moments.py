"""A summed over the kernel's offsets is A of the patches."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from grng.curvature import conv_moments
from grng.curvature.layers import FactorSum, find_layers


def moments(model: nn.Module, inputs: Tensor, *, by_offsets: bool, **kwargs: Any) -> tuple[Tensor, int]:
    """Σ a aᵀ of the model's only layer, and its number of rows, with offsets or with patches alone."""
    layer = find_layers(model, set(model.parameters()), max_factor_size=kwargs.pop("max_factor_size", None))[0][0]
    total = FactorSum(layer, "expand")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_moments, "suits", lambda *_: by_offsets)
        total.add_inputs([inputs], batch=len(inputs), samples=kwargs.pop("samples", len(inputs)))
    assert total._inputs is not None
    return total._inputs, total._input_rows


@pytest.mark.parametrize("kernel", [(3, 3), (2, 3), (3, 1), (1, 2), (5, 3)])
def test_offsets_give_the_sum_over_patches(kernel: tuple[int, int]) -> None:
    torch.manual_seed(0)
    paddings: tuple[int | tuple[int, int] | str, ...] = (0, 1, 2, (1, 0), "same")
    for padding, groups, size, bias in product(paddings, (1, 2), ((5, 7), (4, 2)), (False, True)):
        inputs = torch.randn(3, 4, *size, dtype=torch.float64)
        conv = nn.Conv2d(4, 2, kernel, padding=padding, groups=groups, bias=bias).double()
        margins = conv._reversed_padding_repeated_twice
        if any(n + margin < k for n, margin, k in zip(size, (sum(margins[2:]), sum(margins[:2])), kernel, strict=True)):
            continue
        expected, rows = moments(nn.Sequential(conv), inputs, by_offsets=False)
        found, count = moments(nn.Sequential(conv), inputs, by_offsets=True)
        assert count == rows
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("conv", "options"),
    [
        (nn.Conv2d(8, 2, 3, padding=1), {"max_factor_size": 18}),  # A cut into four blocks
        (nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), {}),
        (Conv2dSame(4, 2, 3), {}),
        (nn.Conv2d(4, 2, 3, padding=1), {"samples": 2}),  # of a part of the batch
        (nn.Conv2d(4, 2, 3, padding=1).to(memory_format=torch.channels_last), {}),
    ],
)
def test_offsets_hold_for_blocks_other_paddings_and_parts_of_the_batch(conv: nn.Conv2d, options: Any) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(3, conv.in_channels, 5, 6, dtype=torch.float64)
    model = nn.Sequential(conv.double())
    expected = moments(model, inputs, by_offsets=False, **options)
    found = moments(model, inputs, by_offsets=True, **options)
    assert found[1] == expected[1]
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-12)


def test_offsets_are_taken_where_they_pay_and_are_exact_alone() -> None:
    wide, narrow = nn.Conv2d(32, 8, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
    assert conv_moments.suits(wide, torch.empty(32, 32, 16, 16), 1)
    assert not conv_moments.suits(narrow, torch.empty(32, 4, 16, 16), 1)
    assert not conv_moments.suits(wide, torch.empty(1, 32, 16, 16), 1)
    for other in (
        nn.Conv2d(32, 8, 3, stride=2),
        nn.Conv2d(32, 8, 3, dilation=2),
        nn.Conv2d(32, 8, 1),
        nn.Conv2d(32, 8, 7),
    ):
        assert not conv_moments.suits(other, torch.empty(32, 32, 16, 16), 1)


def test_single_precision_loses_nothing_to_the_corrections() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(16, 16, 12, 12).relu()  # a mean that is far from zero
    model = nn.Sequential(nn.Conv2d(16, 4, 3, padding=1))
    exact = moments(model.double(), inputs.double(), by_offsets=False)[0]
    found = moments(model.float(), inputs, by_offsets=True)[0]
    patches = moments(model.float(), inputs, by_offsets=False)[0]
    assert (found - exact).abs().max() <= 4 * max((patches - exact).abs().max(), 1e-7 * exact.abs().max())
