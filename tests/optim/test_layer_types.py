"""Layers without a Kronecker rule are stepped by `other_parameters` and named with a reason, whatever their type."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from timm.layers import (
    BatchNormAct2d,
    EvoNorm2dS0,
    FilterResponseNormTlu2d,
    GroupNormAct,
    LayerNormAct2d,
    LayerScale2d,
    ScaledStdConv2d,
    ScaledStdConv2dSame,
    StdConv2d,
)
from timm.layers.cond_conv2d import CondConv2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from grng.optim.kfac import KFAC
from grng.optimizers import create_optimizer
from tests.oracles.nets import class_batch, flat, take_step

CHANNELS, CLASSES, PICTURE = 4, 3, (2, 6, 6)


class Around(nn.Module):
    """A convolution, the layer in question on `[batch, 4, 6, 6]`, a classifier."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(2, CHANNELS, 3, padding=1)
        self.layer = make()
        self.head = nn.Linear(CHANNELS, CLASSES)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.layer(self.stem(x)))
        out: Tensor = self.head(x.flatten(2).mean(dim=2))
        return out


class Routed(nn.Module):
    """timm's conditional convolution: the weight is a mixture of experts, chosen by each picture."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = CondConv2d(CHANNELS, CHANNELS, 3, padding=1, num_experts=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.experts(x, torch.sigmoid(x.mean(dim=(2, 3))[:, :2]))
        return out


class Embedded(nn.Module):
    """Adds an embedding of how bright each position is, and a position table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        level = torch.bucketize(x.detach().mean(dim=1), torch.tensor([-0.1, 0.1], dtype=x.dtype))
        out: Tensor = x + self.table(level).permute(0, 3, 1, 2)
        return out


class AsSequence(nn.Module):
    """Gives its layer the picture as a sequence `[batch, positions, channels]`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.inner = layer

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        found = (
            self.inner(tokens, tokens, tokens) if isinstance(self.inner, nn.MultiheadAttention) else self.inner(tokens)
        )
        tokens = found[0] if isinstance(found, tuple) else found
        back: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return back


def _conv() -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)


# what makes the layer; what one of the reasons says
CASES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch norm": (lambda: nn.BatchNorm2d(CHANNELS), "BatchNorm2d"),
    "batch norm with activation": (lambda: BatchNormAct2d(CHANNELS), "BatchNormAct2d"),
    "group norm with activation": (lambda: GroupNormAct(CHANNELS, num_groups=2), "GroupNormAct"),
    "layer norm with activation": (lambda: LayerNormAct2d(CHANNELS), "LayerNormAct2d"),
    "EvoNorm": (lambda: EvoNorm2dS0(CHANNELS, groups=2), "EvoNorm2dS0"),
    "filter response norm": (lambda: FilterResponseNormTlu2d(CHANNELS), "FilterResponseNormTlu2d"),
    "instance norm": (lambda: nn.InstanceNorm2d(CHANNELS, affine=True), "InstanceNorm2d"),
    "layer scale": (lambda: LayerScale2d(CHANNELS), "LayerScale2d"),
    "embedding": (Embedded, "Embedding"),
    "PReLU": (lambda: nn.PReLU(CHANNELS), "PReLU"),
    "standardised weight": (lambda: StdConv2d(CHANNELS, CHANNELS, 3, padding=1), "StdConv2d"),
    "scaled standardised weight": (lambda: ScaledStdConv2d(CHANNELS, CHANNELS, 3, padding=1), "ScaledStdConv2d"),
    "the same with padding": (
        lambda: ScaledStdConv2dSame(CHANNELS, CHANNELS, 3, padding="same"),
        "ScaledStdConv2dSame",
    ),
    "transposed convolution": (lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, padding=1), "ConvTranspose2d"),
    "mixture of experts": (Routed, "CondConv2d"),
    "weight norm": (lambda: parametrizations.weight_norm(_conv()), "ParametrizedConv2d"),
    "spectral norm": (lambda: parametrizations.spectral_norm(_conv()), "ParametrizedConv2d"),
    "orthogonal": (
        lambda: AsSequence(parametrizations.orthogonal(nn.Linear(CHANNELS, CHANNELS))),
        "ParametrizedLinear",
    ),
    "pruned": (lambda: prune.l1_unstructured(_conv(), "weight", 0.5), "Conv2d with a frozen or computed weight"),
    # its out_proj is a Linear that is never called
    "attention": (lambda: AsSequence(nn.MultiheadAttention(CHANNELS, 2, batch_first=True)), "MultiheadAttention"),
    "recurrent": (lambda: AsSequence(nn.LSTM(CHANNELS, CHANNELS, batch_first=True)), "LSTM"),
    "one-dimensional convolution": (
        lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(CHANNELS, CHANNELS, 1), nn.Unflatten(2, (6, 6))),
        "Conv1d",
    ),
}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "kfac": ("kfac", {"other_parameters": "diagonal"}),
    "kfac, adamw": ("kfac", {"other_parameters": "adamw"}),
    "ring": ("ring", {}),
    "reng": ("reng", {}),
    "reng, finite difference": ("reng", {"hvp": "finite_difference"}),
    "r-kalman": ("r-kalman", {}),
    "r-kalman, whole batch": ("r-kalman", {"rows": 4, "memory": 2, "curvature_batch": 1.0}),
}


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("variant", list(OPTIMIZERS))
def test_every_parameter_moves_and_those_without_a_rule_are_named(variant: str, case: str) -> None:
    make, word = CASES[case]
    model = Around(make)
    name, given = OPTIMIZERS[variant]
    before = [p.detach().clone() for p in model.parameters()]
    optimizer: Any = create_optimizer(name, model, seed=1, **given)
    for step in range(3):
        assert math.isfinite(take_step(model, optimizer, *class_batch(features=PICTURE, classes=CLASSES, seed=step)))
    coverage = optimizer.coverage()
    assert {row.parameter for row in coverage.rows} == {key for key, _ in model.named_parameters()}
    own = [row for row in coverage.rows if row.parameter.startswith("layer.")]
    assert own
    for row in own:
        assert row.rule != coverage.layer_rule, row
        assert row.reason, row
    assert any(word in row.reason for row in own), own
    whole = [row.parameter for row in coverage.rows if row.rule == coverage.layer_rule]
    assert {"stem.weight", "head.weight"} <= set(whole)
    for (key, p), old in zip(model.named_parameters(), before, strict=True):
        assert bool(torch.isfinite(p).all()), key
        assert not torch.equal(p, old), key


@pytest.mark.parametrize("case", list(CASES))
def test_rows_of_samples_add_up_to_the_gradient_for_every_type_of_layer(case: str) -> None:
    model = Around(CASES[case][0])
    optimizer: Any = create_optimizer("r-kalman", model, filter_scope="global", rows=4)
    inputs, targets = class_batch(features=PICTURE, classes=CLASSES)
    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    rows, _ = optimizer._filter._gathered.merged(4, optimizer.processes, list(model.parameters()))
    F.cross_entropy(outputs, targets, reduction="sum").backward()
    for key, p in model.named_parameters():
        assert p.grad is not None, key
        torch.testing.assert_close(
            rows[p].sum(dim=0), p.grad, rtol=1e-9, atol=1e-12, msg=f"the rows of {key} do not add up to its gradient"
        )


def _uniforms_for(labels: Sequence[int], probabilities: Tensor) -> Tensor:
    """Uniform numbers from which just these labels are drawn: the middle of each class's part of [0, 1]."""
    ends = probabilities.cumsum(dim=1)
    return torch.stack([ends[b, y] - probabilities[b, y] / 2 for b, y in enumerate(labels)])


def _always(drawn: Tensor) -> Callable[[tuple[int, ...], torch.device], Tensor]:
    return lambda shape, device: drawn


@pytest.mark.parametrize(
    "case", ["batch norm with activation", "group norm with activation", "EvoNorm", "standardised weight"]
)
def test_the_diagonal_fisher_is_the_mean_of_the_squared_gradients_of_all_labels(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E over drawn labels of B ĝ⊙ĝ = (1/B) Σ_b Σ_y μ_by (∂ℓ_b(y)/∂p)², also where a norm couples the samples."""
    batch = 3
    model = Around(CASES[case][0])
    inputs, targets = class_batch(features=PICTURE, classes=CLASSES, batch=batch)
    own = list(model.layer.parameters())

    outputs = model(inputs)
    probabilities = outputs.detach().softmax(dim=1)
    expected = [torch.zeros_like(p) for p in own]
    for b, y in itertools.product(range(batch), range(CLASSES)):
        loss = F.cross_entropy(outputs[b : b + 1], torch.tensor([y]))
        for total, g in zip(expected, torch.autograd.grad(loss, own, retain_graph=True), strict=True):
            total += probabilities[b, y] * g.square() / batch

    found = [torch.zeros_like(p) for p in own]
    for labels in itertools.product(range(CLASSES), repeat=batch):
        weight = math.prod(float(probabilities[b, y]) for b, y in enumerate(labels))
        optimizer = KFAC(model, lr=0.0, other_parameters="diagonal", curvature_batch=1.0)
        drawn = _uniforms_for(labels, probabilities)
        monkeypatch.setattr(optimizer, "uniforms", _always(drawn))
        optimizer.observe(model(inputs), targets)
        for total, p in zip(found, own, strict=True):
            estimate = optimizer._statistics.diagonal[p].estimate(batch)
            assert estimate is not None
            total += weight * estimate
        optimizer.close()
    assert flat(expected).norm() > 0
    torch.testing.assert_close(flat(found), flat(expected), rtol=1e-9, atol=1e-14)
