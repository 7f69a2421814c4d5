"""Layers that the hooks do not see: a weight used without calling its module, an input changed afterwards."""

from __future__ import annotations

import io
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.optim.kfac import KFAC
from grng.optim.natural import NaturalGradient
from grng.optim.ring import RING
from tests.oracles.nets import class_batch, flat, take_step


class Functional(nn.Module):
    """`hidden` is used by its weight only, as BEiT, EVA and Swin V2 use their qkv; `extra` is not used at all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(5, 6)
        self.hidden = nn.Linear(6, 6)
        self.extra = nn.Linear(6, 6)
        self.head = nn.Linear(6, 4)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        out: Tensor = self.head(torch.tanh(F.linear(x, self.hidden.weight, self.hidden.bias)))
        return out


class Called(Functional):
    """The same function, and AdamW for `hidden` because it is a subclass."""

    def __init__(self) -> None:
        super().__init__()
        weights = self.hidden.state_dict()
        self.hidden = type("Special", (nn.Linear,), {})(6, 6).double()
        self.hidden.load_state_dict(weights)


class Later(Functional):
    """`extra` is used from some step on, by its weight only."""

    late = False

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(F.linear(torch.tanh(self.first(x)), self.hidden.weight, self.hidden.bias))
        if self.late:
            x = x + torch.tanh(F.linear(x, self.extra.weight, self.extra.bias))
        out: Tensor = self.head(x)
        return out


def rows(optimizer: NaturalGradient, layer: str) -> list[tuple[str, str]]:
    return [(row.rule, row.reason) for row in optimizer.coverage().rows if row.layer == layer]


@pytest.mark.parametrize("make", [KFAC, RING])
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_weight_used_without_calling_its_module_is_stepped_as_if_it_had_no_kronecker_rule(
    make: Any, scheduled: bool
) -> None:
    models = [Functional(), Called()]
    optimizers = [make(model, other_parameters="adamw", other_lr=0.004, seed=1, lr=0.01) for model in models]
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in optimizers]
    for step in range(4):
        inputs, targets = class_batch(seed=step)
        for model, optimizer, scheduler in zip(models, optimizers, schedulers, strict=True):
            take_step(model, optimizer, inputs, targets)
            if scheduled:
                scheduler.step()
    torch.testing.assert_close(*(flat(list(model.parameters())) for model in models), rtol=1e-12, atol=1e-12)
    reason = "Linear whose weight is used without calling the module"
    assert rows(optimizers[0], "hidden") == [("adamw", reason)] * 2
    assert {rule for rule, _ in rows(optimizers[0], "extra")} == {"kronecker"}  # not used yet, which is no reason
    assert {rule for rule, _ in rows(optimizers[0], "head")} == {"kronecker"}


def test_the_diagonal_rule_takes_over_from_the_next_observation_on() -> None:
    models = [Functional(), Called()]
    optimizers = [KFAC(model, curvature_interval=1, ema=0.0, momentum=0.0, kl_clip=None, seed=1) for model in models]
    for step in range(3):
        inputs, targets = class_batch(seed=step)
        for model, optimizer in zip(models, optimizers, strict=True):
            take_step(model, optimizer, inputs, targets)
        models[1].load_state_dict(models[0].state_dict())  # the first step of the one was not preconditioned
    steps = []
    inputs, targets = class_batch(seed=9)
    for model, optimizer in zip(models, optimizers, strict=True):
        before = flat(list(model.parameters()))
        take_step(model, optimizer, inputs, targets)
        steps.append(flat(list(model.parameters())) - before)
    torch.testing.assert_close(*steps, rtol=1e-10, atol=1e-14)


def test_an_unused_layer_keeps_its_place_and_its_factors() -> None:
    model = Functional()
    optimizer = RING(model, seed=1)
    inputs, targets = class_batch()
    for _ in range(2):
        outputs = model(inputs)
        optimizer.observe(outputs, targets)
        F.cross_entropy(outputs, targets).backward()
        for p in model.extra.parameters():
            p.grad = torch.zeros_like(p)  # as zero_grad(set_to_none=False) leaves it
        optimizer.step()
        optimizer.zero_grad()
    assert {rule for rule, _ in rows(optimizer, "extra")} == {"kronecker"}


def test_a_layer_found_out_later_joins_those_found_before() -> None:
    model = Later()
    optimizer = RING(model, curvature_interval=1, seed=1)
    for late in (False, True):
        model.late = late
        take_step(model, optimizer, *class_batch())
        found = {row.layer for row in optimizer.coverage().rows if row.rule == "adamw"}
        assert found == ({"hidden", "extra"} if late else {"hidden"})


def test_what_was_found_out_is_in_the_state_dict() -> None:
    model, inputs, targets = Functional(), *class_batch()
    optimizer = RING(model, seed=1)
    for _ in range(3):
        take_step(model, optimizer, inputs, targets)
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    twin = Functional()
    twin.load_state_dict(model.state_dict())
    resumed = RING(twin, seed=7)
    resumed.load_state_dict(torch.load(stream, weights_only=True))
    assert resumed.coverage() == optimizer.coverage()
    for _ in range(3):
        take_step(model, optimizer, inputs, targets)
        take_step(twin, resumed, inputs, targets)
    assert torch.equal(flat(list(model.parameters())), flat(list(twin.parameters())))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("beit_base_patch16_224", {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 32}),
        (
            "swinv2_tiny_window8_256",
            {"embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4, "img_size": 32},
        ),
    ],
)
def test_timm_models_that_use_a_weight_without_calling_its_module(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **options)
    optimizer = RING(model)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    losses = [take_step(model, optimizer, images, labels) for _ in range(5)]  # factors move in the first and the last
    assert losses[-1] < losses[0]
    found = {row.layer.rpartition(".")[2] for row in optimizer.coverage().rows if "without calling" in row.reason}
    assert "qkv" in found
    assert found <= {"qkv"}


def test_a_layer_that_is_called_later_is_taken_back() -> None:
    class Late(Functional):
        late = False

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.first(x))
            hidden = self.hidden(x) if self.late else F.linear(x, self.hidden.weight, self.hidden.bias)
            out: Tensor = self.head(torch.tanh(hidden))
            return out

    model, (inputs, targets) = Late(), class_batch()
    optimizer = RING(model, seed=1, curvature_interval=1)
    take_step(model, optimizer, inputs, targets)
    assert rows(optimizer, "hidden")[0][0] == "adamw"
    model.late = True
    for _ in range(3):
        take_step(model, optimizer, inputs, targets)
    assert {rule for rule, _ in rows(optimizer, "hidden")} == {"kronecker"}
    assert "A_inverse" in optimizer.state[model.hidden.weight]
    assert flat(list(model.parameters())).isfinite().all()
