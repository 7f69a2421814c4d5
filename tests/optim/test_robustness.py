"""What a training loop can do to an optimizer: bad batches, skipped steps, frozen layers, wrong forwards, copies."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature.inverse import newton_inverse
from grng.errors import GrngError, HyperparameterError
from grng.optim.kfac import KFAC
from grng.optim.reng import RENG
from grng.optim.ring import RING
from grng.optim.rkalman import RKalman
from grng.optimizers import create_optimizer
from tests.optim.test_contract import make
from tests.oracles.dense import gradient_and_hvp
from tests.oracles.nets import SmallCNN, class_batch, flat, mlp, take_step

CURVED = ["kfac", "ring", "reng", "r-kalman", "r-kalman, loss", "sophia-g", "sophia-h"]


class Tokens(nn.Module):
    """A Linear with bias on `[batch, tokens, features]`, whose output is a view, before an activation."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=inplace), nn.Linear(6, 3), nn.SiLU(inplace=inplace))
        self.head = nn.Linear(3, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).flatten(1, -2).mean(dim=1))
        return out


@pytest.mark.parametrize("features", [(5, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", CURVED)
def test_activations_in_place_behind_a_view_change_nothing(name: str, features: tuple[int, ...]) -> None:
    results = []
    for inplace in (False, True):
        model = Tokens(inplace)
        optimizer = make(name, model, seed=1)
        for step in range(5):  # factors move in the first and the last
            take_step(model, optimizer, *class_batch(features=features, classes=3, seed=step))
        results.append(flat(list(model.parameters())))
        if name in ("kfac", "ring", "reng"):
            assert [optimizer.state[layer.weight]["factor_updates"] for layer in optimizer._partition.layers] == [2] * 3
    assert torch.equal(*results)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", CURVED)
def test_a_gradient_that_is_not_finite_is_skipped_counted_and_forgotten(name: str, bad: float) -> None:
    model, clean = SmallCNN(), SmallCNN()
    optimizer: Any = make(name, model, seed=1)
    other: Any = make(name, clean, seed=1)
    batch = class_batch(features=(2, 9, 8), classes=3)
    for one, net in ((optimizer, model), (other, clean)):
        take_step(net, one, *batch)
    before = flat(list(model.parameters()))
    outputs = model(batch[0])
    optimizer.observe(outputs, batch[1])
    F.cross_entropy(outputs, batch[1]).backward(create_graph=optimizer.is_second_order)
    gradient = model.head.weight.grad
    assert gradient is not None
    with torch.no_grad():
        gradient[0, 0] = bad
    optimizer.step()
    optimizer.zero_grad()
    assert torch.equal(flat(list(model.parameters())), before)
    assert optimizer.diagnostics()["skipped_steps"] == 1.0
    moved = flat(list(model.parameters()))
    for step in range(3):
        take_step(model, optimizer, *class_batch(features=(2, 9, 8), classes=3, seed=step))
    after = flat(list(model.parameters()))
    assert torch.isfinite(after).all()
    assert (after - moved).norm() > 1e-4 * moved.norm()
    saved = copy.deepcopy(optimizer.state_dict())
    other.load_state_dict(saved)
    assert other.diagnostics()["skipped_steps"] == 1.0


@pytest.mark.parametrize("name", ["kfac", "ring", "reng", "r-kalman", "r-kalman, loss", "sophia-g"])
def test_what_was_observed_for_a_skipped_step_does_not_reach_the_next(name: str) -> None:
    batches = [class_batch(features=(2, 9, 8), classes=3, seed=seed) for seed in (1, 2)]
    results = []
    for skip in (False, True):
        model = SmallCNN()
        optimizer: Any = make(name, model, seed=1)
        if skip:
            optimizer.observe(model(batches[0][0]), batches[0][1])
            optimizer.forget()
            optimizer.generator.manual_seed(1)
        take_step(model, optimizer, *batches[1])
        results.append(flat(list(model.parameters())))
    assert torch.equal(*results)


@pytest.mark.parametrize("name", ["sgd", "adamw", *CURVED])
def test_parameters_that_are_frozen_but_passed_are_accepted(name: str) -> None:
    model = SmallCNN()
    model.conv1.requires_grad_(False)
    model.scale.requires_grad_(False)
    optimizer = make(name, model, params=model.parameters())
    kept = [model.conv1.weight.clone(), model.scale.clone()]
    for step in range(3):
        take_step(model, optimizer, *class_batch(features=(2, 9, 8), classes=3, seed=step))
    assert torch.equal(model.conv1.weight, kept[0])
    assert torch.equal(model.scale, kept[1])


def test_a_groups_learning_rate_scales_both_rules() -> None:
    model = SmallCNN()
    groups = [
        {"params": [model.conv1.weight, *model.norm.parameters()], "lr": 0.00135},
        {"params": [model.head.weight, model.scale]},
        {"params": [model.conv2.weight], "lr": 0.0},
    ]
    optimizer = RING(model, params=groups, lr=0.0027, other_lr=0.02)
    found = [(group["rule"], group["lr"]) for group in optimizer.param_groups]
    assert found == [
        ("kronecker", 0.00135),
        ("adamw", 0.01),
        ("kronecker", 0.0027),
        ("adamw", 0.02),
        ("kronecker", 0.0),
    ]


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("ring", "rh0", 0.1, "a parameter group cannot set 'rh0'. Did you mean 'rho'"),
        ("kfac", "ema", 0.1, "a parameter group cannot set 'ema'"),
        ("ring", "momentum", 1.5, "must be a number, at least 0 and below 1; got 1.5"),
        ("kfac", "damping", 0, "must be a number, above 0; got 0"),
        ("sophia-g", "hessian_interval", 1, "cannot set 'hessian_interval'"),
    ],
)
def test_groups_are_checked_as_the_constructor_is(name: str, key: str, value: Any, message: str) -> None:
    model = mlp()
    with pytest.raises(HyperparameterError, match=message):
        create_optimizer(name, model, params=[{"params": list(model.parameters()), key: value}])


def test_outputs_of_another_forward_are_refused() -> None:
    model = mlp()
    optimizer = KFAC(model)
    inputs, targets = class_batch()
    first = model(inputs)
    model(inputs)
    with pytest.raises(GrngError, match="not those of the model's last forward"):
        optimizer.observe(first, targets)
    optimizer.forget()
    outputs = model(inputs)
    with torch.no_grad():
        model(inputs)  # a look without gradients in between is harmless
    optimizer.observe(outputs, targets)
    optimizer.close()
    optimizer.forget()
    with pytest.raises(GrngError, match=r"before close\(\)"):
        optimizer.observe(model(inputs), targets)


def test_an_optimizer_without_layers_is_adamw_for_all() -> None:
    model, twin = SmallCNN(), SmallCNN()
    optimizer = RING(model, params=model.norm.parameters(), other_lr=0.01, weight_decay=0.05)
    adamw = torch.optim.AdamW(twin.norm.parameters(), lr=0.01, weight_decay=0.05, foreach=True)
    for step in range(3):
        inputs, targets = class_batch(features=(2, 9, 8), classes=3, seed=step)
        take_step(model, optimizer, inputs, targets)
        F.cross_entropy(twin(inputs), targets).backward()
        adamw.step()
        twin.zero_grad()
        model.zero_grad()
    assert torch.equal(flat(list(model.norm.parameters())), flat(list(twin.norm.parameters())))


@pytest.mark.parametrize("name", CURVED)
def test_a_copy_of_the_model_has_nothing_to_do_with_the_optimizer(name: str) -> None:
    results = []
    for copies in (False, True):
        model = SmallCNN()
        optimizer: Any = make(name, model, seed=1)
        twin = copy.deepcopy(model) if copies else None
        for step in range(3):
            inputs, targets = class_batch(features=(2, 9, 8), classes=3, seed=step)
            outputs = model(inputs)
            if twin is not None:
                twin(inputs + 1.0)
                copy.deepcopy(model)
            optimizer.observe(outputs, targets)
            F.cross_entropy(outputs, targets).backward(create_graph=optimizer.is_second_order)
            optimizer.step()
            optimizer.zero_grad()
        results.append(flat(list(model.parameters())))
    assert torch.equal(*results)


def test_half_a_layer_cannot_be_added_to_the_other_half() -> None:
    model = mlp()
    optimizer = KFAC(model, params=[p for name, p in model.named_parameters() if name.endswith("bias")])
    with pytest.raises(GrngError, match="must be added together"):
        optimizer.add_param_group({"params": [p for name, p in model.named_parameters() if name.endswith("weight")]})


def test_finite_differences_hold_in_single_precision() -> None:
    model = SmallCNN().float()
    inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=16)
    exact = SmallCNN()
    exact.load_state_dict(model.state_dict())
    gradient, product = gradient_and_hvp(exact, inputs, targets)
    optimizer = RENG(model, lr=0.0, rho=1.0, hvp="finite_difference", momentum=0.0)
    seen: dict[nn.Parameter, Tensor] = {}
    original = optimizer._vectors

    def spy(gradients: Any, closure: Any) -> Any:
        seen.update(original(gradients, closure))
        return seen

    optimizer._vectors = spy  # type: ignore[method-assign]
    take_step(model, optimizer, inputs.float(), targets)
    found = flat([seen[p] for p in model.parameters()]).double()
    expected = flat([gradient[name] + product[name] for name, _ in model.named_parameters()])
    assert (found - expected).norm() < 0.01 * expected.norm()


def test_newton_reports_a_large_indefinite_matrix_in_single_precision() -> None:
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(256, 256))
    values = torch.linspace(0.01, 1.0, 256)
    values[0] = -0.01
    _, report = newton_inverse((basis * values @ basis.mT)[None])
    assert not report.converged


def test_an_infinite_deviance_does_not_stay_in_the_noise() -> None:
    model = mlp()
    optimizer = RKalman(model, observation="loss")
    inputs, targets = class_batch()
    take_step(model, optimizer, inputs, targets)
    optimizer._filter._deviance = float("inf")  # type: ignore[attr-defined]
    take_step(model, optimizer, inputs, targets)
    before = flat(list(model.parameters()))
    for _ in range(2):
        take_step(model, optimizer, inputs, targets)
    assert (flat(list(model.parameters())) - before).norm() > 1e-6


@pytest.mark.parametrize("name", ["sophia-g", "r-kalman", "r-kalman, loss", "gr-sgd", "ring"])
def test_the_first_group_may_be_empty(name: str) -> None:
    model = mlp()
    optimizer: Any = make(name, model, params=[{"params": []}, {"params": list(model.parameters())}])
    assert take_step(model, optimizer, *class_batch()) > 0
