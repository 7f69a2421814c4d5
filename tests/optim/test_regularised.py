"""When the term ρ H g is due, and with what weight: RENG and the controls alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grng.optimizers import create_optimizer
from tests.oracles.dense import gradient_and_hvp
from tests.oracles.nets import class_batch, mlp, take_step

NAMES = ["reng", "gr-sgd", "gr-adamw"]
SCHEDULES: list[tuple[dict[str, int], list[int]]] = [  # hyperparameters, and the weight of ρ H g in steps 0, 1, …
    ({}, [1, 1, 1, 1, 1, 1, 1]),
    ({"regularize_every": 3}, [3, 0, 0, 3, 0, 0, 3]),
    ({"rho_warmup_steps": 2}, [0, 0, 1, 1, 1, 1, 1]),
    ({"regularize_every": 2, "rho_warmup_steps": 3}, [0, 0, 0, 0, 2, 0, 2]),
]


@pytest.mark.parametrize(("options", "weights"), SCHEDULES)
@pytest.mark.parametrize(("hvp", "tolerance"), [("double_backprop", 1e-9), ("finite_difference", 1e-4)])
@pytest.mark.parametrize("name", NAMES)
def test_the_term_comes_every_kth_step_with_k_times_its_weight_and_not_in_the_warm_up(
    name: str, hvp: str, tolerance: float, options: dict[str, Any], weights: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rho = mlp(), 0.3
    optimizer: Any = create_optimizer(name, model, lr=0.01, rho=rho, hvp=hvp, **options)
    original, seen = optimizer._vectors, {}

    def spy(gradients: Any, closure: Any) -> Any:
        seen.update(original(gradients, closure))
        return dict(seen)

    monkeypatch.setattr(optimizer, "_vectors", spy)
    for step, weight in enumerate(weights):
        inputs, targets = class_batch(seed=step)
        gradient, product = gradient_and_hvp(model, inputs, targets)
        due = weight > 0
        assert optimizer.is_second_order == (due and hvp == "double_backprop"), step
        assert optimizer.needs_closure == (due and hvp == "finite_difference"), step
        take_step(model, optimizer, inputs, targets)
        for key, p in model.named_parameters():
            expected = gradient[key] + weight * rho * product[key]
            limit = tolerance if due else 1e-12
            torch.testing.assert_close(seen[p], expected, rtol=limit, atol=limit * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_the_schedule_goes_on_after_a_resume(name: str) -> None:
    options: dict[str, Any] = {"regularize_every": 3, "rho_warmup_steps": 1}
    model = mlp()
    optimizer: Any = create_optimizer(name, model, **options)
    for step in range(5):
        take_step(model, optimizer, *class_batch(seed=step))
    resumed: Any = create_optimizer(name, mlp(), **options)
    resumed.load_state_dict(optimizer.state_dict())
    assert [resumed.steps, resumed.is_second_order] == [5, False]
    take_step(resumed.model, resumed, *class_batch())
    assert resumed.is_second_order


@pytest.mark.parametrize("name", NAMES)
def test_every_group_has_a_rho_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    inputs, targets = class_batch()
    first, second = (list(layer.parameters()) for layer in model if isinstance(layer, nn.Linear))
    groups = [{"params": first, "rho": 0.0}, {"params": second}]
    optimizer: Any = create_optimizer(name, model, params=groups, rho=0.7)
    original, seen = optimizer._vectors, {}
    monkeypatch.setattr(optimizer, "_vectors", lambda g, c: seen.update(original(g, c)) or dict(seen))
    take_step(model, optimizer, inputs, targets)
    twin = mlp()
    g = torch.autograd.grad(
        nn.functional.cross_entropy(twin(inputs), targets), list(twin.parameters()), create_graph=True
    )
    penalty = 0.35 * sum(part.square().sum() for part in g[2:])
    assert isinstance(penalty, torch.Tensor)
    for p, own, extra in zip(model.parameters(), g, torch.autograd.grad(penalty, list(twin.parameters())), strict=True):
        torch.testing.assert_close(seen[p], (own + extra).detach(), rtol=1e-9, atol=1e-12)


class NoSecondDerivative(nn.Module):
    """∇L is finite at the start, H is not: the second derivative of s^1.5 at 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.shift = nn.Linear(5, 4).double(), nn.Parameter(torch.zeros(4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x) + self.shift.pow(1.5)
        return out


@pytest.mark.parametrize("name", ["reng", "gr-sgd", "gr-adamw", "sophia-h"])
def test_a_hessian_product_that_is_not_finite_skips_the_step_and_is_counted(name: str) -> None:
    model, (inputs, targets) = NoSecondDerivative(), class_batch()
    optimizer: Any = create_optimizer(name, model, seed=1)
    before = [p.detach().clone() for p in model.parameters()]
    take_step(model, optimizer, inputs, targets)
    assert (optimizer.skipped_steps, optimizer.steps) == (1, 1)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    with torch.no_grad():
        model.shift.fill_(1.0)
    for _ in range(12):
        take_step(model, optimizer, inputs, targets)
    assert optimizer.skipped_steps == 1
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("reng", {"hvp": "finite_difference"}),
        ("gr-sgd", {"hvp": "finite_difference"}),
        ("gr-adamw", {"hvp": "finite_difference"}),
        ("sam", {}),
    ],
)
def test_a_second_pass_that_is_not_finite_skips_the_step_and_is_counted(name: str, options: dict[str, Any]) -> None:
    model, (inputs, targets) = mlp(), class_batch()
    optimizer: Any = create_optimizer(name, model, **options)
    before = [p.detach().clone() for p in model.parameters()]

    def closure() -> float:
        loss = nn.functional.cross_entropy(model(inputs), targets) * float("inf")
        loss.backward()
        return float(loss.detach())

    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    nn.functional.cross_entropy(outputs, targets).backward()
    optimizer.step(closure)
    assert (optimizer.skipped_steps, optimizer.steps) == (1, 1)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
