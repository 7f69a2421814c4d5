"""Oracles 16 and 20: neither micro-batches nor in-place activations change what is observed, and nothing else is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.optim.kfac import KFAC
from grng.optim.ring import RING
from grng.optimizers import create_optimizer
from tests.optim.test_contract import make as make_optimizer
from tests.oracles.nets import SmallCNN, class_batch, flat, mlp, take_step


def first_weight(model: nn.Module) -> Tensor:
    return next(model.parameters())


OURS = ["kfac", "ring", "reng", "r-kalman", "r-kalman, loss", "sophia-g", "sophia-h", "gr-sgd", "gr-adamw"]


@pytest.mark.parametrize("name", [*OURS, "sam"])
@pytest.mark.parametrize("make", [lambda inplace: SmallCNN(inplace=inplace), lambda inplace: _plain(inplace)])
def test_the_first_step_is_the_same_with_activations_in_place(name: str, make: Any) -> None:
    inputs, targets = class_batch(features=(2, 9, 8), classes=3)
    results = []
    for inplace in (False, True):
        model = make(inplace)
        optimizer = make_optimizer(name, model, seed=1)
        take_step(model, optimizer, inputs, targets)
        results.append(flat(list(model.parameters())))
    assert torch.equal(*results)


def _plain(inplace: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(144, 8),
        nn.ReLU(inplace=inplace),
        nn.Linear(8, 6),
        nn.SiLU(inplace=inplace),
        nn.Linear(6, 3),
    ).double()


# a share of every micro-batch would be other samples than that share of the joined batch
ALL_SAMPLES: dict[str, Any] = {"fisher": "empirical", "curvature_batch": 1.0, "curvature_interval": 2}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kfac", {**ALL_SAMPLES, "other_parameters": "diagonal"}),
        ("ring", ALL_SAMPLES),
        ("kfac", {**ALL_SAMPLES, "damping_form": "exact", "eigenvalue_correction": True}),
        ("reng", {**ALL_SAMPLES, "rho": 0.0}),
        ("reng", {**ALL_SAMPLES, "rho": 0.3}),
        ("gr-sgd", {"rho": 0.3}),
        ("gr-adamw", {"rho": 0.3}),
        ("r-kalman", {"observation": "loss"}),
        ("r-kalman", {"filter_scope": "global", "rows": 3}),
        ("r-kalman", {"curvature_batch": 1.0, "rows": 3}),
        ("r-kalman", {"observation": "outputs"}),
        ("sophia-g", {}),
    ],
)
@pytest.mark.parametrize("parts", [(12,), (6, 6), (3, 3, 3, 3)])
def test_micro_batches_add_up_to_the_joined_batch(name: str, options: dict[str, Any], parts: tuple[int, ...]) -> None:
    whole, split = SmallCNN(norm=False), SmallCNN(norm=False)
    one, many = (create_optimizer(name, model, seed=1, **options) for model in (whole, split))
    for step in range(3):
        inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=12, seed=step)
        take_step(whole, one, inputs, targets)
        for x, y in zip(inputs.split(list(parts)), targets.split(list(parts)), strict=True):
            outputs = split(x)
            many.observe(outputs, y)  # type: ignore[attr-defined]
            second_order = many.is_second_order  # type: ignore[attr-defined]
            (F.cross_entropy(outputs, y) * len(x) / 12).backward(create_graph=second_order)
        many.step()
        many.zero_grad()
    torch.testing.assert_close(flat(list(split.parameters())), flat(list(whole.parameters())), rtol=1e-6, atol=1e-9)


def test_a_layer_used_twice_accumulates_its_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.head = nn.Linear(4, 4).double(), nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.layer(torch.tanh(self.layer(x))))
            return out

    model = Twice()
    inputs, targets = class_batch(features=(4,), classes=3)
    optimizer = KFAC(model, lr=0.0, ema=0.0, curvature_batch=1.0, fisher="exact")
    take_step(model, optimizer, inputs, targets)
    first = torch.cat([inputs, torch.ones(6, 1, dtype=torch.float64)], dim=1)
    hidden = torch.cat([torch.tanh(model.layer(inputs)), torch.ones(6, 1, dtype=torch.float64)], dim=1).detach()
    expected = (first.mT @ first + hidden.mT @ hidden) / 12
    torch.testing.assert_close(optimizer.state[model.layer.weight]["A"][0], expected)


def test_tied_weights_and_subclasses_are_left_to_the_other_rule_and_named() -> None:
    class Scaled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, 2 * self.weight, self.bias)

    model = nn.Sequential(
        nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), Scaled(5, 5), nn.LayerNorm(5), nn.Linear(5, 4)
    ).double()
    model[2].weight = model[0].weight
    optimizer = RING(model)
    coverage = optimizer.coverage()
    rules = {row.parameter: (row.rule, row.reason) for row in coverage.rows}
    assert rules["6.weight"] == ("kronecker", "")
    assert rules["0.weight"] == ("adamw", "Linear with tied weights")
    assert rules["4.weight"] == ("adamw", "Scaled (a subclass whose weight may be transformed)")
    assert rules["5.weight"] == ("adamw", "LayerNorm (no Kronecker rule)")
    assert coverage.summary().startswith("1 of 5 layers, ")
    take_step(model, optimizer, *class_batch())
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_factor_too_wide_is_cut_into_blocks_or_left_to_the_other_rule_and_named() -> None:
    optimizer = KFAC(mlp(sizes=(41, 7, 40, 4)), max_factor_size=20)
    rows = {row.parameter: row for row in optimizer.coverage().rows}
    assert (
        rows["0.weight"].reason == "Linear with a factor that cannot be cut into equal blocks up to max_factor_size=20"
    )
    assert (rows["2.weight"].rule, rows["2.weight"].reason) == ("kronecker", "G in 2 diagonal blocks")
    assert rows["0.weight"].rule == "diagonal"


def test_multihead_attention_whose_output_projection_is_never_called_trains() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True).double(), nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))
            return out

    for name in OURS:
        model = Attention()
        optimizer: Any = make_optimizer(name, model)
        for step in range(2):
            assert math.isfinite(take_step(model, optimizer, *class_batch(features=(5, 4), classes=3, seed=step)))
        if (coverage := optimizer.coverage()) is not None:
            reasons = {row.parameter: row.reason for row in coverage.rows}
            assert "subclass" in reasons["attention.out_proj.weight"]


@pytest.mark.parametrize("name", OURS)
def test_other_backwards_and_forwards_add_nothing_to_the_statistics(name: str) -> None:
    results = []
    for disturbed in (False, True):
        model = SmallCNN()
        optimizer: Any = make_optimizer(name, model, seed=1)
        for step in range(3):
            inputs, targets = class_batch(features=(2, 9, 8), classes=3, seed=step)
            if disturbed:
                torch.autograd.grad(model(inputs + 1).sum(), list(model.parameters()))
            outputs = model(inputs)
            optimizer.observe(outputs, targets)
            loss = F.cross_entropy(outputs, targets)
            if disturbed:
                torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            loss.backward(create_graph=optimizer.is_second_order)
            optimizer.step()
            optimizer.zero_grad()
        results.append(flat(list(model.parameters())))
    assert torch.equal(*results)


def test_gradient_checkpointing_recomputes_without_being_counted_twice() -> None:
    class Checkpointed(nn.Module):
        def __init__(self, on: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.on, self.body, self.head = (
                on,
                nn.Sequential(nn.Linear(5, 6), nn.Tanh()).double(),
                nn.Linear(6, 4).double(),
            )

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=False) if self.on else self.body(x)
            out: Tensor = self.head(hidden)
            return out

    results = []
    for on in (False, True):
        model = Checkpointed(on)
        optimizer = KFAC(model, seed=1)
        for step in range(3):
            take_step(model, optimizer, *class_batch(seed=step))
        results.append(flat(list(model.parameters())))
    torch.testing.assert_close(*results)


def test_failed_inversions_keep_the_last_good_inverse_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from grng.curvature import kronecker

    model = mlp()
    optimizer = KFAC(model, curvature_interval=1, inverse_interval=1)
    optimizer.collect_diagnostics = True
    take_step(model, optimizer, *class_batch())
    kept = optimizer.state[first_weight(model)]["A_inverse"].clone()
    monkeypatch.setattr(kronecker, "damped_inverse", lambda *args, **kwargs: (None, None))
    take_step(model, optimizer, *class_batch(seed=2))
    assert torch.equal(optimizer.state[first_weight(model)]["A_inverse"], kept)
    assert optimizer.diagnostics()["failed_inversions"] == 2.0
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("damping_form", ["factored", "exact"])
def test_zero_initialised_last_norms_and_rank_deficient_factors_do_no_harm(damping_form: Any) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    optimizer = RING(model, damping_form=damping_form, inverse_interval=5)
    optimizer.collect_diagnostics = True
    images, labels = torch.randn(8, 1, 32, 32), torch.randint(0, 10, (8,))
    for _ in range(2):
        outputs = model(images)
        optimizer.observe(outputs, labels)
        F.cross_entropy(outputs, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert optimizer.diagnostics()["failed_inversions"] == 0.0


def test_soft_targets_leave_the_sampled_fisher_as_it_is() -> None:
    inputs, targets = class_batch()
    results = []
    for given in (targets, F.one_hot(targets, 4).double() * 0.9 + 0.025):
        model = mlp()
        optimizer = KFAC(model, lr=0.0, ema=0.0, seed=1)
        take_step(model, optimizer, inputs, given)
        results.append(optimizer.state[first_weight(model)]["G"])
    assert torch.equal(*results)
