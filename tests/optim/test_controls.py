"""The controls against torch's own optimizers: on the regularised loss, at the moved weights, and without either."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.errors import GrngError, HyperparameterError
from grng.optim.controls import SAM
from grng.optimizers import create_optimizer
from tests.oracles.nets import class_batch, flat, mlp, take_step

SGD: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
ADAMW: dict[str, Any] = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
RULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "gr-sgd": (torch.optim.SGD, SGD),
    "gr-adamw": (torch.optim.AdamW, ADAMW),
    "sam": (torch.optim.SGD, SGD),
}


class Noisy(nn.Module):
    """BatchNorm and dropout: what a second forward could disturb."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 4)
        ).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def steps_of_torch(optimizer: torch.optim.Optimizer, model: nn.Module, count: int) -> None:
    for step in range(count):
        inputs, targets = class_batch(batch=16, seed=step)
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", list(RULES))
def test_without_regularisation_they_are_torchs_own_bit_for_bit(name: str) -> None:
    rule, options = RULES[name]
    ours, theirs = Noisy(), Noisy()
    off: dict[str, Any] = {"radius": 0.0} if name == "sam" else {"rho": 0.0}
    optimizer = create_optimizer(name, ours, **options, **off)
    torch.manual_seed(7)
    for step in range(6):
        take_step(ours, optimizer, *class_batch(batch=16, seed=step))
    after = torch.get_rng_state()
    torch.manual_seed(7)
    steps_of_torch(rule(theirs.parameters(), **options), theirs, 6)
    assert torch.equal(after, torch.get_rng_state())
    for (key, mine), (_, expected) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert torch.equal(mine, expected), key
    assert not torch.equal(flat(list(ours.parameters())), flat(list(Noisy().parameters())))


@pytest.mark.parametrize(("hvp", "tolerance"), [("double_backprop", 1e-10), ("finite_difference", 1e-5)])
@pytest.mark.parametrize("name", ["gr-sgd", "gr-adamw"])
def test_they_are_torchs_own_on_the_regularised_loss(name: str, hvp: str, tolerance: float) -> None:
    rule, options = RULES[name]
    rho, ours, theirs = 0.4, mlp(), mlp()
    parameters = list(theirs.parameters())
    reference = rule(parameters, **options)
    optimizer = create_optimizer(name, ours, **options, rho=rho, hvp=hvp)
    for step in range(6):
        inputs, targets = class_batch(seed=step)
        loss = F.cross_entropy(theirs(inputs), targets)
        g = torch.autograd.grad(loss, parameters, create_graph=True)
        (loss + 0.5 * rho * torch.stack([part.square().sum() for part in g]).sum()).backward()
        reference.step()
        reference.zero_grad()
        take_step(ours, optimizer, inputs, targets)
    torch.testing.assert_close(flat(list(ours.parameters())), flat(parameters), rtol=tolerance, atol=tolerance)


def test_sam_steps_with_the_gradient_at_the_moved_weights() -> None:
    radius, ours, theirs = 0.3, mlp(), mlp()
    parameters = list(theirs.parameters())
    reference = torch.optim.SGD(parameters, **SGD)
    optimizer = SAM(ours, **SGD, radius=radius)
    for step in range(6):
        inputs, targets = class_batch(seed=step)
        g = torch.autograd.grad(F.cross_entropy(theirs(inputs), targets), parameters)
        norm = flat(g).norm()
        start = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for p, part in zip(parameters, g, strict=True):
                p.add_(radius * part / norm)
        F.cross_entropy(theirs(inputs), targets).backward()
        with torch.no_grad():
            for p, old in zip(parameters, start, strict=True):
                p.copy_(old)
        reference.step()
        reference.zero_grad()
        take_step(ours, optimizer, inputs, targets)
    torch.testing.assert_close(flat(list(ours.parameters())), flat(parameters), rtol=1e-10, atol=1e-13)


def test_sam_with_a_small_radius_is_gradient_regularisation_by_a_finite_difference() -> None:
    radius = 1e-4
    inputs, targets = class_batch()
    plain: dict[str, Any] = dict.fromkeys(("momentum", "weight_decay"), 0.0)
    norm = flat(
        torch.autograd.grad(F.cross_entropy((model := mlp())(inputs), targets), list(model.parameters()))
    ).norm()
    sam, regularised = mlp(), mlp()
    take_step(sam, create_optimizer("sam", sam, lr=1.0, radius=radius, **plain), inputs, targets)
    rho = radius / float(norm)
    take_step(regularised, create_optimizer("gr-sgd", regularised, lr=1.0, rho=rho, **plain), inputs, targets)
    start = flat(list(mlp().parameters()))
    terms = [flat(list(m.parameters())) - start for m in (sam, regularised)]
    torch.testing.assert_close(*terms, rtol=0, atol=1e-3 * radius)


def test_sams_second_pass_sees_the_same_dropout_and_leaves_statistics_and_random_state_alone() -> None:
    inputs, targets = class_batch(batch=16)
    radius, sam, once, moved = 0.2, Noisy(), Noisy(), Noisy()
    torch.manual_seed(7)
    take_step(sam, SAM(sam, lr=1.0, radius=radius, momentum=0.0), inputs, targets)
    state = torch.get_rng_state()
    torch.manual_seed(7)
    g = torch.autograd.grad(F.cross_entropy(once(inputs), targets), list(once.parameters()))
    assert torch.equal(torch.get_rng_state(), state)
    for (key, mine), (_, expected) in zip(sam.named_buffers(), once.named_buffers(), strict=True):
        assert torch.equal(mine, expected), key
    torch.manual_seed(7)
    with torch.no_grad():
        for p, part in zip(moved.parameters(), g, strict=True):
            p.add_(radius * part / flat(g).norm())
    there = torch.autograd.grad(F.cross_entropy(moved(inputs), targets), list(moved.parameters()))
    expected = flat(list(once.parameters())) - flat(there)
    torch.testing.assert_close(flat(list(sam.parameters())), expected, rtol=1e-10, atol=1e-12)


def test_every_group_has_a_radius_of_its_own() -> None:
    model, twin = mlp(), mlp()
    inputs, targets = class_batch()
    first, second = (list(layer.parameters()) for layer in model if isinstance(layer, nn.Linear))
    take_step(
        model,
        SAM(model, [{"params": first, "radius": 0.0}, {"params": second}], lr=1.0, radius=0.2, momentum=0.0),
        inputs,
        targets,
    )
    parameters = list(twin.parameters())
    g = torch.autograd.grad(F.cross_entropy(twin(inputs), targets), parameters)
    start = flat(parameters)
    with torch.no_grad():
        for p, part in zip(parameters[2:], g[2:], strict=True):
            p.add_(0.2 * part / flat(g).norm())
    there = torch.autograd.grad(F.cross_entropy(twin(inputs), targets), parameters)
    torch.testing.assert_close(flat(list(model.parameters())), start - flat(there), rtol=1e-10, atol=1e-13)


def test_sam_stands_still_where_the_gradient_is_zero() -> None:
    model = mlp()
    before = flat(list(model.parameters()))
    inputs, targets = class_batch()
    take_step(model, SAM(model), inputs, targets, loss=lambda z, y: 0.0 * z.sum())
    assert torch.equal(flat(list(model.parameters())), before)


@pytest.mark.parametrize(("name", "options"), [("sam", {}), ("gr-sgd", {"hvp": "finite_difference"})])
def test_a_missing_closure_is_said_and_changes_nothing(name: str, options: dict[str, Any]) -> None:
    model = mlp()
    optimizer: Any = create_optimizer(name, model, **options)
    inputs, targets = class_batch()
    F.cross_entropy(model(inputs), targets).backward()
    before = flat(list(model.parameters())), flat([p.grad for p in model.parameters() if p.grad is not None])
    with pytest.raises(GrngError, match=r"Call optimizer.step\(closure\) where optimizer.needs_closure holds"):
        optimizer.step()
    assert torch.equal(flat(list(model.parameters())), before[0])
    assert torch.equal(flat([p.grad for p in model.parameters() if p.grad is not None]), before[1])
    assert optimizer.steps == 0


@pytest.mark.parametrize("name", ["sgd", "gr-sgd", "sam"])
def test_nesterov_without_momentum_is_refused(name: str) -> None:
    with pytest.raises(HyperparameterError, match="nesterov has no effect with momentum=0"):
        create_optimizer(name, mlp(), nesterov=True, momentum=0.0)


def test_a_missing_graph_is_said() -> None:
    model = mlp()
    optimizer = create_optimizer("gr-adamw", model)
    inputs, targets = class_batch()
    F.cross_entropy(model(inputs), targets).backward()
    with pytest.raises(GrngError, match=r"create_graph=optimizer\.is_second_order"):
        optimizer.step()


@pytest.mark.parametrize("name", list(RULES))
def test_grad_is_the_losss_own_after_the_step_and_hooks_run_once(name: str) -> None:
    model = mlp()
    rule, _ = RULES[name]
    steps_of_torch(rule(model.parameters(), lr=0.0), model, 1)  # torch wraps a class's step at its first instance
    strength: dict[str, Any] = {"radius": 0.5} if name == "sam" else {"rho": 0.5}
    optimizer: Any = create_optimizer(name, model, **strength)
    seen: list[Tensor] = []
    optimizer.register_step_pre_hook(lambda *args: seen.append(torch.stack([p.detach().sum() for p in optimizer.own])))
    optimizer.own = list(model.parameters())
    inputs, targets = class_batch()
    own = torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters()))

    def closure() -> float:
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        return float(loss.detach())

    loss = F.cross_entropy(model(inputs), targets)
    loss.backward(create_graph=optimizer.is_second_order)
    optimizer.step(closure if optimizer.needs_closure else None)
    assert len(seen) == 1
    for p, expected in zip(model.parameters(), own, strict=True):
        assert p.grad is not None
        assert not p.grad.requires_grad
        torch.testing.assert_close(p.grad, expected, rtol=1e-12, atol=1e-14)


def test_a_closure_that_is_not_needed_is_called_once_as_in_torch() -> None:
    ours, theirs = mlp(), mlp()
    inputs, targets = class_batch()
    expected = take_step(theirs, create_optimizer("gr-sgd", theirs, rho=0.3), inputs, targets)
    optimizer: Any = create_optimizer("gr-sgd", ours, rho=0.3)
    calls: list[float] = []

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(ours(inputs), targets)
        loss.backward(create_graph=optimizer.is_second_order)
        calls.append(float(loss.detach()))
        return calls[-1]

    assert optimizer.step(closure) == expected
    assert calls == [expected]
    assert torch.equal(flat(list(ours.parameters())), flat(list(theirs.parameters())))
