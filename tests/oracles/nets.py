"""Small networks in float64 and one training loop, shared by the oracles."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor]


def mlp(
    *, sizes: Sequence[int] = (5, 7, 4), bias: bool = True, activation: Callable[[], nn.Module] = nn.Tanh, seed: int = 0
) -> nn.Sequential:
    """A multilayer perceptron in float64."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(fan_in, fan_out, bias=bias))
        if index < len(sizes) - 2:
            layers.append(activation())
    return nn.Sequential(*layers).double()


class SmallCNN(nn.Module):
    """Convolutions with stride, padding, dilation and groups, a norm layer, a free parameter."""

    def __init__(self, *, inplace: bool = False, norm: bool = True, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv1 = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(2, 4) if norm else nn.Identity()
        self.act1 = nn.ReLU(inplace=inplace)
        self.conv2 = nn.Conv2d(4, 6, (3, 2), padding=(2, 1), dilation=(2, 1), groups=2)
        self.act2 = nn.ReLU(inplace=inplace)
        self.scale = nn.Parameter(torch.ones(6, 1, 1))
        self.depthwise = nn.Conv2d(6, 6, 3, padding="same", groups=6)
        self.act3 = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(6, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm(self.conv1(x)))
        x = self.act2(self.conv2(x)) * self.scale
        x = self.act3(self.depthwise(x))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


class SmallAttention(nn.Module):
    """A Linear on tokens `[batch, tokens, features]`, scaled-dot-product attention, a position table."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.position = nn.Parameter(0.1 * torch.randn(1, 5, 4))
        self.qkv = nn.Linear(4, 12)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x + self.position)).chunk(3, dim=-1)
        out: Tensor = self.head(F.scaled_dot_product_attention(q, k, v).mean(dim=1))
        return out


class Gained(nn.Module):
    """A scalar parameter, as the gain of a residual branch is in timm's NFNets."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.head = nn.Linear(5, 5), nn.Linear(5, 4)
        self.gain = nn.Parameter(torch.tensor(0.3))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x + torch.tanh(self.first(x)) * self.gain)
        return out


def class_batch(*, features: Sequence[int] = (5,), classes: int = 4, batch: int = 6, seed: int = 1) -> Batch:
    """Random inputs `[batch, *features]` in float64 and class labels `[batch]`."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(batch, *features, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, classes, (batch,), generator=generator)


def binary_batch(*, features: Sequence[int] = (5,), outputs: int = 4, batch: int = 6, seed: int = 1) -> Batch:
    """Random inputs `[batch, *features]` and labels 0 or 1 `[batch, outputs]`, both in float64."""
    inputs, _ = class_batch(features=features, batch=batch, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1000)
    return inputs, torch.randint(0, 2, (batch, outputs), generator=generator).double()


def take_step(
    model: nn.Module, optimizer: Any, inputs: Tensor, targets: Tensor, loss: Callable[..., Tensor] = F.cross_entropy
) -> float:
    """One step of the loop that the contract promises."""

    def closure() -> float:
        value = loss(model(inputs), targets)
        value.backward()
        return float(value.detach())

    outputs = model(inputs)
    value = loss(outputs, targets)
    optimizer.observe(outputs, targets)
    value.backward(create_graph=optimizer.is_second_order)
    optimizer.step(closure if optimizer.needs_closure else None)
    optimizer.zero_grad()
    return float(value.detach())


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of ½‖z − y‖², the Gaussian likelihood's loss."""
    return 0.5 * (outputs - targets).square().sum(dim=1).mean()


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of the outputs' sum of binary cross-entropies, the Bernoulli likelihood's loss."""
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(dim=1).mean()


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All entries in one vector."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def step_of(model: nn.Module, optimizer: Any, inputs: Tensor, targets: Tensor, **kwargs: Any) -> list[Tensor]:
    """Take one step and return the change of every parameter."""
    before = [p.detach().clone() for p in model.parameters()]
    take_step(model, optimizer, inputs, targets, **kwargs)
    return [p.detach() - old for p, old in zip(model.parameters(), before, strict=True)]


class Squares(torch.autograd.Function):
    """An operator with a backward of its own that cannot be differentiated, as many fused kernels are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        product: Tensor = 2.0 * x * gradient
        return product
