"""Clipping: c g in place of g, in steps with one pass and with two, with and without a loss scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.optimizers import create_optimizer
from grng.training.clock import StepClock
from grng.training.precision import Precision
from grng.training.step import StepRules, train_step
from tests.oracles.nets import class_batch, flat, mlp
from tests.training.test_step import Recording

LARGEST = 0.05


def loss_at(weights: Tensor, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    named = dict(model.named_parameters())
    parts = weights.split([p.numel() for p in named.values()])
    state = {name: part.reshape(p.shape) for (name, p), part in zip(named.items(), parts, strict=True)}
    return F.cross_entropy(torch.func.functional_call(model, state, (batch[0],)), batch[1])


def stepped(
    model: nn.Module, optimizer: Any, *, precision: Precision | None = None, clip: float | None = LARGEST
) -> Tensor:
    """Return by how much a step on `class_batch()` moves all weights."""
    before = flat(list(model.parameters())).clone()
    rules = StepRules(clip_grad=clip, precision=precision or Precision())
    train_step(model, optimizer, class_batch, StepClock(torch.device("cpu")), rules=rules)
    return flat(list(model.parameters())) - before


def scaled() -> Precision:
    """A loss scale without float16, so that nothing is rounded differently."""
    precision = Precision()
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    return precision


def gradient_and_factor(model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return g, the Hessian, and c, from the loss as a function of all weights."""
    weights = flat(list(model.parameters())).detach()
    gradient = torch.func.grad(loss_at)(weights, model, class_batch())
    hessian = torch.func.hessian(loss_at)(weights, model, class_batch())
    return gradient, hessian, (LARGEST / gradient.norm()).clamp(max=1.0)


@pytest.mark.parametrize("precision", [None, scaled()], ids=["plain", "loss scale"])
def test_the_optimizer_steps_along_the_shortened_gradient(precision: Precision | None) -> None:
    model = mlp()
    gradient, _, factor = gradient_and_factor(model)
    assert float(factor) < 0.5
    moved = stepped(model, create_optimizer("sgd", model, lr=1.0, momentum=0.0), precision=precision)
    torch.testing.assert_close(moved, -factor * gradient, rtol=1e-4, atol=1e-12)
    assert float(moved.norm()) == pytest.approx(LARGEST, rel=1e-4)


def test_a_gradient_within_the_bound_is_left_as_it_is() -> None:
    moved = []
    for clip in (None, 1e3):
        model = mlp()
        moved.append(stepped(model, create_optimizer("adamw", model), clip=clip))
    assert torch.equal(*moved)


@pytest.mark.parametrize("precision", [None, scaled()], ids=["plain", "loss scale"])
@pytest.mark.parametrize("hvp", ["double_backprop", "finite_difference"])
@pytest.mark.parametrize("name", ["gr-sgd", "reng"])
def test_a_regularised_step_is_c_times_the_unclipped_one(name: str, hvp: str, precision: Precision | None) -> None:
    rho = 0.5
    model = mlp()
    gradient, hessian, factor = gradient_and_factor(model)
    seen: list[Tensor] = []
    options: dict[str, Any] = {"lr": 1.0, "momentum": 0.0} if name == "gr-sgd" else {}
    optimizer: Any = create_optimizer(name, model, hvp=hvp, rho=rho, **options)
    inner = optimizer._vectors

    def vectors(*args: Any) -> Any:
        found = inner(*args)
        seen.append(flat([found[p] for p in model.parameters()]))
        return found

    optimizer._vectors = vectors
    moved = stepped(model, optimizer, precision=precision)
    expected = factor * (gradient + rho * hessian @ gradient)
    # a finite difference over √machine-epsilon of the scaled loss has its own truncation error
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-7)
    if name == "gr-sgd":
        torch.testing.assert_close(moved, -expected, rtol=1e-4, atol=1e-7)
    assert optimizer.gradient_factor == 1.0


@pytest.mark.parametrize("precision", [None, scaled()], ids=["plain", "loss scale"])
def test_sam_s_second_gradient_is_multiplied_by_the_first_one_s_factor(precision: Precision | None) -> None:
    model, radius = mlp(), 0.3
    gradient, _, factor = gradient_and_factor(model)
    start = flat(list(model.parameters())).detach().clone()
    there = torch.func.grad(loss_at)(start + radius * gradient / gradient.norm(), model, class_batch())
    optimizer = create_optimizer("sam", model, lr=1.0, momentum=0.0, radius=radius)
    torch.testing.assert_close(stepped(model, optimizer, precision=precision), -factor * there, rtol=1e-4, atol=1e-9)


def test_curvature_by_double_backprop_is_the_unclipped_loss_s() -> None:
    found = []
    for clip in (None, LARGEST):
        model = mlp()
        optimizer = create_optimizer("sophia-h", model, seed=3)
        stepped(model, optimizer, clip=clip)
        found.append(flat([optimizer.state[p]["hessian"] for p in model.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["kfac", "ring", "sophia-g"])
def test_observed_curvature_is_not_clipped(name: str) -> None:
    found = []
    for clip in (None, LARGEST):
        model = mlp()
        optimizer = create_optimizer(name, model, seed=3)
        stepped(model, optimizer, clip=clip)
        key = "hessian" if name == "sophia-g" else "G"
        found.append(flat([state[key] for state in optimizer.state.values() if key in state]))
    assert torch.equal(*found)


def test_gradients_are_clipped_after_the_backward_and_before_the_step() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 4).double()
    optimizer = Recording(model)
    norms: list[float] = []
    optimizer.register_step_pre_hook(
        lambda *_: norms.append(float(flat([p.grad for p in model.parameters() if p.grad is not None]).norm()))
    )
    stepped(model, optimizer)
    assert norms[0] == pytest.approx(LARGEST, rel=1e-4)
