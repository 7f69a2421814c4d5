"""Grouped and depthwise convolutions: every group's factors against a dense Fisher matrix and an independent library."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.curvature.test_factors import factors, kronecker, row_major
from tests.oracles.dense import dense_fisher_categorical
from tests.oracles.nets import class_batch


class SideBySide(nn.Module):
    """A grouped convolution, as one layer or as so many layers side by side, with a head that tells the groups apart."""

    def __init__(self, *, groups: int, split: bool, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        whole = nn.Conv2d(4, 8, (3, 2), groups=groups, **options)
        self.convs, self.head = nn.ModuleList([whole]), nn.Linear(8, 3)
        if split:
            state = {key: value.chunk(groups) for key, value in whole.state_dict().items()}
            self.convs = nn.ModuleList(nn.Conv2d(4 // groups, 8 // groups, (3, 2), **options) for _ in range(groups))
            for group, own in enumerate(self.convs):
                own.load_state_dict({key: parts[group] for key, parts in state.items()})
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        parts = [conv(part) for conv, part in zip(self.convs, x.chunk(len(self.convs), dim=1), strict=True)]
        out: Tensor = self.head(torch.tanh(torch.cat(parts, dim=1)).mean(dim=(2, 3)))
        return out


@pytest.mark.parametrize("groups", [2, 4])
def test_at_one_position_and_with_one_sample_every_group_is_a_block_of_the_dense_fisher(groups: int) -> None:
    model = SideBySide(groups=groups, split=False, bias=False)
    inputs, targets = class_batch(features=(4, 3, 2), classes=3, batch=1)
    a, g = factors(model, inputs, targets, fisher="exact")["convs.0"]
    dense = dense_fisher_categorical(model, inputs, "convs.0.weight")
    size = len(dense) // groups
    assert a.shape[0] == g.shape[0] == groups
    for group in range(groups):
        own = slice(group * size, (group + 1) * size)
        torch.testing.assert_close(kronecker(a[group], g[group]), dense[own, own], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weight_sharing", ["expand", "reduce"])
@pytest.mark.parametrize("groups", [2, 4])
def test_every_group_has_the_factors_that_curvlinops_gives_a_layer_of_its_own(
    groups: int, weight_sharing: str, bias: bool
) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    options = {"bias": bias, "stride": (2, 1), "padding": (1, 2)}
    whole, split = (SideBySide(groups=groups, split=kind, **options) for kind in (False, True))
    inputs, targets = class_batch(features=(4, 7, 5), classes=3, batch=5)
    torch.testing.assert_close(whole(inputs), split(inputs))
    a, g = factors(whole, inputs, targets, fisher="exact", weight_sharing=weight_sharing)["convs.0"]
    for group, conv in enumerate(split.convs):
        operator = curvlinops.KFACLinearOperator(
            split,
            nn.CrossEntropyLoss(),
            list(conv.parameters()),
            [(inputs, targets)],
            fisher_type="type-2",
            kfac_approx=weight_sharing,
            separate_weight_and_bias=False,
            check_deterministic=False,
        )
        expected = row_major(operator @ torch.eye(operator.shape[1], dtype=torch.float64), conv)
        torch.testing.assert_close(kronecker(a[group], g[group]), expected, rtol=1e-6, atol=1e-9)
