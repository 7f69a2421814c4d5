"""Oracles 1 and 2: factors against dense Fisher matrices, closed forms, and an independent library."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import Conv2dSame, StdConv2d
from timm.layers.linear import Linear
from torch import Tensor, nn

from grng.curvature.layers import find_layers
from grng.curvature.layout import conv_patches, join_matrix, split_matrix
from grng.optim.kfac import KFAC
from tests.oracles.dense import dense_fisher_categorical, dense_fisher_gaussian
from tests.oracles.nets import SmallAttention, SmallCNN, class_batch, half_squared_error, mlp, take_step


def factors(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, curvature_batch: float = 1.0, **kwargs: Any
) -> dict[str, tuple[Tensor, Tensor]]:
    """Take one step with a learning rate of zero and return the batch's factors by layer name."""
    optimizer = KFAC(model, lr=0.0, ema=0.0, curvature_interval=1, curvature_batch=curvature_batch, **kwargs)
    loss = half_squared_error if kwargs.get("likelihood") == "gaussian" else nn.functional.cross_entropy
    take_step(model, optimizer, inputs, targets, loss=loss)
    return {
        layer.name: (optimizer.state[layer.weight]["A"], optimizer.state[layer.weight]["G"])
        for layer in optimizer._partition.layers
    }


def kronecker(a: Tensor, g: Tensor) -> Tensor:
    """The block in the row-major order of a weight `[out, in]`."""
    return torch.kron(g.contiguous(), a.contiguous())


def test_one_linear_layer_without_bias_and_one_sample_is_the_dense_fisher() -> None:
    model = mlp(sizes=(5, 4), bias=False)
    inputs, targets = class_batch(batch=1)
    a, g = factors(model, inputs, targets, fisher="exact")["0"]
    torch.testing.assert_close(
        kronecker(a[0], g[0]), dense_fisher_categorical(model, inputs, "0.weight"), rtol=1e-10, atol=1e-12
    )


def test_a_deep_linear_net_with_gaussian_loss_has_the_closed_form() -> None:
    model = mlp(sizes=(5, 3, 4), bias=False, activation=nn.Identity)
    inputs = class_batch(batch=6)[0]
    found = factors(model, inputs, torch.zeros(6, 4, dtype=torch.float64), fisher="exact", likelihood="gaussian")
    second = list(model.parameters())[1].detach()
    covariance = inputs.mT @ inputs / 6
    torch.testing.assert_close(found["0"][0][0], covariance)
    torch.testing.assert_close(found["0"][1][0], second.mT @ second)
    torch.testing.assert_close(found["2"][1][0], torch.eye(4, dtype=torch.float64))
    for name in ("0", "2"):
        expected = dense_fisher_gaussian(model, inputs, f"{name}.weight")
        torch.testing.assert_close(kronecker(found[name][0][0], found[name][1][0]), expected, rtol=1e-10, atol=1e-12)


def test_sampled_labels_converge_to_the_exact_fisher() -> None:
    model = mlp(sizes=(5, 4))
    inputs, targets = class_batch(batch=4)
    exact = factors(model, inputs, targets, fisher="exact")["0"][1]
    many = inputs.repeat(20_000, 1)
    sampled = factors(model, many, targets.repeat(20_000), fisher="sampled")["0"][1]
    torch.testing.assert_close(sampled, exact, rtol=0.03, atol=0.003)


class Dilated(nn.Module):
    """Ungrouped convolutions whose stride, padding and dilation differ by axis."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(2, 1))
        self.second = nn.Conv2d(4, 3, 3, padding=(1, 3), dilation=(1, 2), bias=False)
        self.head = nn.Linear(3, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.second(torch.tanh(self.first(x)))).mean(dim=(2, 3)))
        return out


MODELS: dict[str, Any] = {
    "mlp": (lambda: mlp(), (5,), 4),
    "cnn": (lambda: SmallCNN(norm=False), (2, 9, 8), 3),
    "dilated": (lambda: Dilated(), (2, 9, 8), 3),
    "attention": (lambda: SmallAttention(), (5, 4), 3),
}


@pytest.mark.parametrize("weight_sharing", ["expand", "reduce"])
@pytest.mark.parametrize("kind", list(MODELS))
def test_factors_equal_those_of_curvlinops(kind: str, weight_sharing: str) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    make, features, classes = MODELS[kind]
    model = make()
    inputs, targets = class_batch(features=features, classes=classes, batch=6)
    found = factors(model, inputs, targets, fisher="exact", weight_sharing=weight_sharing)
    layers = {name: module for name, module in model.named_modules() if name in found}
    compared = 0
    for name, module in layers.items():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            continue  # curvlinops has no grouped convolutions: see test_grouped.py
        parameters = list(module.parameters(recurse=False))
        operator = curvlinops.KFACLinearOperator(
            model,
            nn.CrossEntropyLoss(),
            parameters,
            [(inputs, targets)],
            fisher_type="type-2",
            kfac_approx=weight_sharing,
            separate_weight_and_bias=False,
            check_deterministic=False,
        )
        matrix = operator @ torch.eye(operator.shape[1], dtype=torch.float64)
        a, g = found[name]
        torch.testing.assert_close(kronecker(a[0], g[0]), row_major(matrix, module), rtol=1e-6, atol=1e-9)
        compared += 1
    assert compared == {"mlp": 2, "cnn": 2, "dilated": 3, "attention": 2}[kind]


def row_major(matrix: Tensor, module: nn.Module) -> Tensor:
    """Reorder curvlinops' [weight, bias] order to ours, in which the bias is the last column of each row."""
    weight, bias = module.weight, getattr(module, "bias", None)
    assert isinstance(weight, Tensor)
    rows, columns = weight.shape[0], weight[0].numel()
    if bias is None:
        return matrix
    order = [
        row * columns + column if column < columns else rows * columns + row
        for row in range(rows)
        for column in range(columns + 1)
    ]
    return matrix[order][:, order]


def test_a_grouped_convolution_is_so_many_convolutions_side_by_side() -> None:
    torch.manual_seed(0)
    grouped = nn.Conv2d(4, 6, 3, padding=1, groups=2).double()
    images = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    rows = conv_patches(images, grouped)
    for group in range(2):
        single = nn.Conv2d(2, 3, 3, padding=1).double()
        expected = conv_patches(images[:, 2 * group : 2 * group + 2], single)
        torch.testing.assert_close(rows[group], expected[0])
    matrix = join_matrix(grouped.weight, grouped.bias, 2)
    ones = torch.ones(*rows.shape[:3], 1, dtype=torch.float64)
    outputs = torch.cat([rows, ones], dim=3) @ matrix[:, None].mT
    expected = grouped(images).reshape(3, 2, 3, 25).permute(1, 0, 3, 2)
    torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"padding": "same", "dilation": 2},
        {"padding": "same", "kernel_size": (5, 3)},
        {"padding": 1, "padding_mode": "reflect"},
        {"kernel_size": 1, "stride": 2},
        {"groups": 4},
    ],
)
def test_patches_times_weight_is_the_convolution(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(4, 8, **{"kernel_size": 3, **options}).double()
    images = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    matrix = join_matrix(module.weight, None, module.groups)
    outputs = conv_patches(images, module) @ matrix[:, None].mT
    expected = module(images) - module.bias[:, None, None]  # type: ignore[index]
    torch.testing.assert_close(outputs.permute(1, 0, 3, 2).reshape(expected.shape), expected)


def test_join_and_split_are_inverse() -> None:
    module = nn.Conv2d(4, 6, 3, groups=2)
    matrix = join_matrix(module.weight, module.bias, 2)
    assert matrix.shape == (2, 3, 19)
    weight, bias = split_matrix(matrix, module.weight.shape, has_bias=True)
    assert torch.equal(weight, module.weight)
    assert bias is not None
    assert module.bias is not None
    assert torch.equal(bias, module.bias)


@pytest.mark.parametrize("fisher", ["sampled", "exact", "empirical"])
@pytest.mark.parametrize("share", [0.5, 0.4])  # of 6 samples: 3, and 2.4, which is rounded up
def test_curvature_batch_measures_the_first_samples(share: float, fisher: str) -> None:
    model = mlp()
    inputs, targets = class_batch(batch=6)
    part = factors(model, inputs, targets, fisher=fisher, curvature_batch=share)
    alone = factors(model, inputs[:3], targets[:3], fisher=fisher)
    for name in part:
        for mine, theirs in zip(part[name], alone[name], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weight_sharing", ["expand", "reduce"])
def test_windows_of_a_picture_count_as_positions_of_their_sample(weight_sharing: str) -> None:
    class Windows(nn.Module):
        def __init__(self, split: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.split, self.proj, self.head = split, nn.Linear(3, 4).double(), nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            rows = x.reshape(-1, 2, 3) if self.split else x  # [batch * windows, 2, 3]
            out: Tensor = self.head(torch.tanh(self.proj(rows)).reshape(len(x), -1, 4).mean(dim=1))
            return out

    inputs, targets = class_batch(features=(4, 3), classes=3)
    split, whole = (
        factors(Windows(kind), inputs, targets, fisher="exact", weight_sharing=weight_sharing, curvature_batch=0.5)
        for kind in (True, False)
    )
    for name in split:
        for mine, theirs in zip(split[name], whole[name], strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("size", "options"), [((7, 6), {"stride": 2}), ((8, 5), {"stride": 3, "dilation": 2}), ((9, 9), {"groups": 2})]
)
def test_patches_of_timms_conv_with_same_padding(size: tuple[int, int], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = Conv2dSame(4, 6, (3, 2), bias=False, **options).double()
    images = torch.randn(2, 4, *size, dtype=torch.float64)
    outputs = conv_patches(images, module) @ join_matrix(module.weight, None, module.groups)[:, None].mT
    expected = module(images)
    positions = expected.shape[-2] * expected.shape[-1]
    expected = expected.reshape(2, module.groups, -1, positions).permute(1, 0, 3, 2)
    torch.testing.assert_close(outputs, expected)


def test_timms_subclasses_that_use_their_weight_as_it_is_have_kronecker_factors() -> None:
    same, linear, standardised = Conv2dSame(3, 4, 3, stride=2), Linear(4, 5), StdConv2d(3, 4, 3)
    model = nn.ModuleList([same, linear, standardised])
    layers, reasons = find_layers(model, set(model.parameters()), max_factor_size=None)
    assert [layer.module for layer in layers] == [same, linear]
    assert reasons == dict.fromkeys(standardised.parameters(), "StdConv2d (a subclass whose weight may be transformed)")
