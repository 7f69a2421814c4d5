"""Oracle 6: g + ρ H g equals a forward-over-reverse product; finite differences agree; nothing is left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grng.errors import GrngError
from grng.optim.controls import GRSGD, GRAdamW
from grng.optim.reng import RENG
from grng.optim.sophia import Sophia
from grng.optimizers import create_optimizer
from tests.oracles.dense import gradient_and_hvp
from tests.oracles.nets import SmallAttention, SmallCNN, Squares, class_batch, flat, mlp, take_step

DIFFERENCE: dict[str, Any] = {"hvp": "finite_difference"}
SETTINGS: dict[str, Any] = {"lr": 0.0, "other_lr": 0.0, "rho": 0.3, "momentum": 0.0}
MODELS: dict[str, Any] = {
    "mlp": (mlp, (5,), 4),
    "cnn": (SmallCNN, (2, 9, 8), 3),
    "attention": (SmallAttention, (5, 4), 3),
}


def vector_of(model: nn.Module, hvp: Any, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Run one step and return what was preconditioned, by name."""
    optimizer = RENG(model, **SETTINGS, hvp=hvp)
    seen: dict[nn.Parameter, Tensor] = {}
    original = optimizer._vectors

    def spy(gradients: Any, closure: Any) -> Any:
        seen.update(original(gradients, closure))
        return seen

    optimizer._vectors = spy  # type: ignore[method-assign]
    take_step(model, optimizer, inputs, targets)
    return {name: seen[p] for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", list(MODELS))
@pytest.mark.parametrize(("hvp", "tolerance"), [("double_backprop", 1e-9), ("finite_difference", 1e-4)])
def test_reng_preconditions_the_regularised_gradient(kind: str, hvp: str, tolerance: float) -> None:
    make, features, classes = MODELS[kind]
    model: nn.Module = make()
    inputs, targets = class_batch(features=features, classes=classes)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        gradient, product = gradient_and_hvp(model, inputs, targets)
    before = flat(list(model.parameters()))
    found = vector_of(model, hvp, inputs, targets)
    assert torch.equal(flat(list(model.parameters())), before)  # the learning rate is zero
    for name in gradient:
        expected = gradient[name] + 0.3 * product[name]
        torch.testing.assert_close(found[name], expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


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


def test_the_second_pass_sees_the_same_dropout_and_leaves_statistics_and_random_state_alone() -> None:
    inputs, targets = class_batch(batch=16)
    once, twice = Noisy(), Noisy()
    torch.manual_seed(7)
    plain = vector_of(once, "double_backprop", inputs, targets)
    state = torch.get_rng_state()
    torch.manual_seed(7)
    difference = vector_of(twice, "finite_difference", inputs, targets)
    assert torch.equal(torch.get_rng_state(), state)
    for (name, mine), (_, theirs) in zip(once.named_buffers(), twice.named_buffers(), strict=True):
        assert torch.equal(mine, theirs), name
    torch.testing.assert_close(flat(list(difference.values())), flat(list(plain.values())), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), [("reng", DIFFERENCE), ("gr-sgd", DIFFERENCE), ("sam", {})])
def test_numbers_drawn_between_the_two_passes_are_not_drawn_again(name: str, options: dict[str, Any]) -> None:
    inputs, targets = class_batch(batch=16)
    model = Noisy()
    optimizer: Any = create_optimizer(name, model, **options)

    def closure() -> float:
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        return float(loss.detach())

    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    nn.functional.cross_entropy(outputs, targets).backward()
    torch.rand(3)
    state = torch.get_rng_state()
    optimizer.step(closure)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "make", [RENG, GRSGD, GRAdamW, lambda m: Sophia(m, estimator="hutchinson", hessian_interval=1)]
)
def test_no_graph_outlives_the_step(make: Any) -> None:
    model = mlp()
    optimizer = make(model)
    inputs, targets = class_batch()
    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    nn.functional.cross_entropy(outputs, targets).backward(create_graph=optimizer.is_second_order)
    assert any(p.grad is not None and p.grad.requires_grad for p in model.parameters())
    optimizer.step()
    assert not any(p.grad is not None and p.grad.requires_grad for p in model.parameters())


def test_a_missing_graph_and_a_missing_closure_are_said() -> None:
    inputs, targets = class_batch()
    cases: list[tuple[Any, str]] = [
        ("double_backprop", "create_graph=optimizer.is_second_order"),
        ("finite_difference", r"optimizer.step\(closure\)"),
    ]
    for hvp, message in cases:
        model = mlp()
        optimizer = RENG(model, hvp=hvp)
        outputs = model(inputs)
        optimizer.observe(outputs, targets)
        nn.functional.cross_entropy(outputs, targets).backward()
        with pytest.raises(GrngError, match=message):
            optimizer.step()


def test_fused_attention_is_avoided_by_the_optimizers_own_hooks_and_only_while_needed() -> None:
    model = SmallAttention()
    optimizer = RENG(model, rho=0.1)
    inputs, targets = class_batch(features=(5, 4), classes=3)
    flags = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    take_step(model, optimizer, inputs, targets)
    assert flags == (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled())
    optimizer.close()
    optimizer.param_groups[0]["rho"] = 0.0
    outputs = model(inputs)
    gradient = torch.autograd.grad(nn.functional.cross_entropy(outputs, targets), model.qkv.weight, create_graph=True)[
        0
    ]
    with pytest.raises(RuntimeError, match=r"not implemented|double"):
        gradient.sum().backward()


class Fused(nn.Module):
    """Half of the model is behind the operator, so that H g would not be missing but wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(5, 7).double(), nn.Linear(7, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(Squares.apply(self.first(x)))
        return out


@pytest.mark.parametrize(
    ("make", "way_out"),
    [
        *((make, "hvp=finite_difference") for make in (RENG, GRSGD, GRAdamW)),
        (lambda model: Sophia(model, estimator="hutchinson"), "sophia-g"),
    ],
)
def test_an_operator_that_is_differentiable_only_once_is_an_error_and_not_a_wrong_product(
    make: Any, way_out: str
) -> None:
    model = Fused()
    optimizer = make(model)
    with pytest.raises(GrngError, match="no double backward") as caught:
        take_step(model, optimizer, *class_batch())
    assert way_out in (caught.value.hint or "")
    assert not any(p.grad is not None and p.grad.requires_grad for p in model.parameters())


def test_finite_differences_serve_where_an_operator_is_differentiable_only_once() -> None:
    class Plain(Fused):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.first(x).square())
            return out

    inputs, targets = class_batch()
    gradient, product = gradient_and_hvp(Plain(), inputs, targets)
    found = vector_of(Fused(), "finite_difference", inputs, targets)
    for name in gradient:
        expected = gradient[name] + 0.3 * product[name]
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
