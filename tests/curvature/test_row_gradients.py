"""Row gradients equal per-sample gradients by torch.func, summed over groups, whichever rule they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature.capture import Capture
from grng.curvature.layers import find_layers
from grng.curvature.row_gradients import row_gradients
from grng.curvature.sample_groups import SampleGroups, merge_plan
from tests.oracles.dense import per_sample_gradients
from tests.oracles.nets import SmallAttention, SmallCNN, class_batch, mlp


class Vision(nn.Module):
    """Class token, position table, layer scale, a norm whose subclass hides it, an unused and a frozen parameter."""

    class Norm(nn.LayerNorm):
        pass

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(4, 6)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.position = nn.Parameter(torch.randn(1, 6, 6))
        self.norm = Vision.Norm(6)
        self.fc = nn.Linear(6, 6)
        self.gamma = nn.Parameter(torch.randn(6))
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.unused = nn.Parameter(torch.randn(3))
        self.head = nn.Linear(6, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], dim=1) + self.position
        x = x - self.gamma * self.fc(torch.tanh(self.frozen(self.norm(x))))
        out: Tensor = self.head(x[:, 0])
        return out


class Odd(nn.Module):
    """What has no rule: tied weights, a subclass that transforms its weight, attention's packed projection."""

    class Scaled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight / self.weight.norm(dim=1, keepdim=True), self.bias)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.scaled = Odd.Scaled(4, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(torch.tanh(self.first(x)))
        x = self.attention(x, x, x, need_weights=False)[0]
        out: Tensor = self.head(self.scaled(x).mean(dim=1))
        return out


class Twice(nn.Module):
    """One layer and one norm, each used twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.norm, self.head = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.layer(torch.tanh(self.norm(self.layer(x)))))
        out: Tensor = self.head(x.mean(dim=1))
        return out


class SequenceFirst(nn.Module):
    """A layer whose first dimension is no batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.norm, self.head = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.tanh(self.layer(x.transpose(0, 1))))
        out: Tensor = self.head(x.mean(dim=0))
        return out


def rows_of(
    model: nn.Module, inputs: Tensor, cotangent: Tensor, rows: int, *, autocast: bool = False
) -> tuple[dict[str, Tensor], SampleGroups, int]:
    """The rows by parameter name, the groups, and the number of backwards that they took."""
    held = [p for p in model.parameters() if p.requires_grad]
    layers, _ = find_layers(model, set(held), max_factor_size=None)
    capture = Capture(model, {layer.name: layer.module for layer in layers}, lambda: True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        outputs = model(inputs)
    groups, backwards = SampleGroups.split(len(inputs), rows), 0

    def pull(asked: Sequence[Any], u: Tensor) -> Sequence[Tensor | None]:
        nonlocal backwards
        backwards += 1
        return torch.autograd.grad(outputs, list(asked), u.to(outputs.dtype), retain_graph=True, allow_unused=True)

    found = row_gradients(outputs, cotangent, held, layers=layers, uses=capture.take(), groups=groups, pull=pull)
    capture.close()
    return {name: found[p] for name, p in model.named_parameters() if p in found}, groups, backwards


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int, bool]] = {
    "mlp": (mlp, (5,), 4, True),
    "grouped, dilated, strided cnn": (SmallCNN, (2, 9, 8), 3, True),
    "cnn with activations in place": (lambda: SmallCNN(inplace=True), (2, 9, 8), 3, True),
    "attention": (SmallAttention, (5, 4), 3, True),
    "tokens, tables, scales": (Vision, (5, 4), 3, True),
    "used twice": (Twice, (5, 4), 3, True),
    "tied, subclassed, packed": (Odd, (5, 4), 3, False),
    "sequence first": (SequenceFirst, (5, 4), 3, False),
}


@pytest.mark.parametrize("rows", [1, 3, 4, 6, 20])
@pytest.mark.parametrize("case", list(CASES))
def test_rows_are_sums_of_per_sample_gradients(case: str, rows: int) -> None:
    make, features, outputs, one_backward = CASES[case]
    model = make()
    inputs, _ = class_batch(features=features, batch=6)
    cotangent = torch.randn(6, outputs, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found, groups, backwards = rows_of(model, inputs, cotangent, rows)
    assert groups.batch == 6
    assert len(groups.sizes) == min(rows, 6)
    assert max(groups.sizes) - min(groups.sizes) <= 1
    assert backwards == (1 if one_backward else 1 + len(groups.sizes))
    expected = per_sample_gradients(model, inputs, cotangent)
    used = {name for name, p in model.named_parameters() if p.requires_grad and not name.startswith("unused")}
    assert set(found) == used
    for name in used:
        each = torch.stack([part.sum(dim=0) for part in expected[name].split(list(groups.sizes))])
        torch.testing.assert_close(found[name], each, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval()])
def test_rows_of_a_batch_norm_add_up_to_the_batch_gradient(norm: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3)).double()
    inputs, _ = class_batch(features=(2, 6, 6), batch=5)
    cotangent = torch.randn(5, 3, dtype=torch.float64)
    found, _, _ = rows_of(model, inputs, cotangent, 3)
    total = torch.autograd.grad(model(inputs), list(model.parameters()), cotangent)
    for (name, _), expected in zip(model.named_parameters(), total, strict=True):
        torch.testing.assert_close(found[name].sum(dim=0), expected, rtol=1e-10, atol=1e-12)


def test_a_parameter_with_a_dimension_as_long_as_the_batch_is_not_cut_by_it() -> None:
    class Gained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weight = nn.Parameter(torch.randn(6, 5, dtype=torch.float64))
            self.head = nn.Linear(6, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(torch.tanh(F.linear(x, self.weight * 2.0)))
            return out

    model = Gained()
    inputs, _ = class_batch(batch=6)
    cotangent = torch.randn(6, 3, dtype=torch.float64)
    found, _, _ = rows_of(model, inputs, cotangent, 6)
    torch.testing.assert_close(found["weight"], per_sample_gradients(model, inputs, cotangent)["weight"])


def test_rows_of_a_forward_under_autocast_are_those_of_float32_but_for_rounding() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))
    inputs = class_batch()[0].float()
    cotangent = torch.randn(6, 3)
    plain, _, _ = rows_of(model, inputs, cotangent, 3)
    found, _, backwards = rows_of(model, inputs, cotangent, 3, autocast=True)
    assert backwards == 1
    for name, expected in plain.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], expected, rtol=0.1, atol=0.05 * float(expected.abs().max()))


@pytest.mark.parametrize(("batch", "rows"), [(6, 4), (12, 5), (7, 7), (128, 16), (3, 9)])
def test_sample_b_is_in_group_floor_b_r_over_b(batch: int, rows: int) -> None:
    count = min(rows, batch)
    owners = [b * count // batch for b in range(batch)]
    assert SampleGroups.split(batch, rows).sizes == tuple(owners.count(j) for j in range(count))


def test_merged_groups_are_those_of_the_joined_batch_where_the_rows_divide_the_parts() -> None:
    for parts, rows in (((6, 6), 3), ((4, 8, 4), 4), ((3, 3, 3, 3), 3)):
        sizes = [size for part in parts for size in SampleGroups.split(part, rows).sizes]
        ends, merged = 0, []
        for length in merge_plan(sizes, rows):
            merged.append(sum(sizes[ends : ends + length]))
            ends += length
        if len(set(parts)) == 1:
            assert tuple(merged) == SampleGroups.split(sum(parts), rows).sizes
        assert len(merged) <= rows
        assert ends == len(sizes)
