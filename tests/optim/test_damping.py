"""Oracles 4, 5 and 7: the limit of large damping, RING's λ_t, and the exact form against a dense solve."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.optim.kfac import KFAC
from grng.optim.reng import RENG
from grng.optim.ring import RING
from tests.oracles.dense import gradient_and_hvp
from tests.oracles.nets import SmallCNN, class_batch, flat, mlp, step_of, take_step

PLAIN: dict[str, Any] = {
    "lr": 1.0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "step_norm": "none",
    "kl_clip": None,
    "other_parameters": "diagonal",
    "momentum_form": "step",
    "curvature_interval": 1,
    "curvature_batch": 1.0,
    "inverse_interval": 1,
}


def gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters())))


@pytest.mark.parametrize("form", ["factored", "exact"])
@pytest.mark.parametrize("name", ["kfac", "ring", "reng"])
def test_with_large_damping_the_step_is_the_gradient_over_the_damping(name: str, form: str) -> None:
    model, damping, rho = SmallCNN(), 1e9, 0.3
    inputs, targets = class_batch(features=(2, 9, 8), classes=3)
    g, product = gradient_and_hvp(model, inputs, targets)
    options = {**PLAIN, "damping": damping, "damping_form": form}
    optimizer: Any = KFAC(model, **options)
    if name == "ring":
        optimizer = RING(model, **options, rho=rho)
    if name == "reng":
        optimizer = RENG(model, **options, rho=rho)
    steps = step_of(model, optimizer, inputs, targets)
    expected = [-(g[key] + rho * product[key]) if name == "reng" else -g[key] for key in g]
    torch.testing.assert_close(damping * flat(steps), flat(expected), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("norm_power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_ring_damps_by_the_norm_of_the_present_gradient_at_every_step(scope: Any, norm_power: float) -> None:
    model, rho, damping = mlp(), 0.7, 1e-3
    options = {**PLAIN, "lr": 0.1, "curvature_interval": 2, "inverse_interval": 4}
    optimizer = RING(
        model,
        **options,
        rho=rho,
        damping=damping,
        norm_scope=scope,
        norm_power=norm_power,
        norm_ema=0.0,
        damping_form="exact",
    )
    for step in range(6):
        inputs, targets = class_batch(seed=step)
        grads = dict(zip((p for p in model.parameters()), gradient(model, inputs, targets), strict=True))
        total = flat(list(grads.values())).norm()
        take_step(model, optimizer, inputs, targets)
        for unit in optimizer._partition.units:
            norm = total if scope == "global" else flat([grads[p] for p in unit.parameters]).norm()
            found = optimizer.state[unit.key]["damping"]
            torch.testing.assert_close(float(found), float(damping + rho * norm**norm_power), rtol=1e-10, atol=0)


def test_ring_smooths_the_norm_and_reads_it_at_refreshes() -> None:
    model, rho, damping, decay = mlp(), 0.7, 1e-3, 0.9
    options = {**PLAIN, "lr": 0.1, "curvature_interval": 1, "inverse_interval": 3}
    optimizer = RING(model, **options, rho=rho, damping=damping, norm_ema=decay)
    averages: dict[nn.Parameter, float] = {}
    expected: dict[nn.Parameter, float] = {}
    for step in range(7):
        inputs, targets = class_batch(seed=step)
        grads = dict(zip((p for p in model.parameters()), gradient(model, inputs, targets), strict=True))
        take_step(model, optimizer, inputs, targets)
        for unit in optimizer._partition.units:
            square = float(flat([grads[p] for p in unit.parameters]).square().sum())
            averages[unit.key] = decay * averages.get(unit.key, 0.0) + (1 - decay) * square
            if step == 0 or step % 3 == optimizer._phases[unit.key]:
                expected[unit.key] = damping + rho * averages[unit.key] / (1 - decay ** (step + 1))
            torch.testing.assert_close(
                float(optimizer.state[unit.key]["damping"]), expected[unit.key], rtol=1e-10, atol=0
            )


def test_exact_damping_equals_the_dense_solve() -> None:
    model, damping = SmallCNN(), 0.02
    inputs, targets = class_batch(features=(2, 9, 8), classes=3)
    grads = dict(zip((p for p in model.parameters()), gradient(model, inputs, targets), strict=True))
    optimizer = KFAC(model, **{**PLAIN, "damping": damping, "damping_form": "exact"})
    steps = dict(zip(model.parameters(), step_of(model, optimizer, inputs, targets), strict=True))
    for layer in optimizer._partition.layers:
        state = optimizer.state[layer.weight]
        correction = 1 - optimizer.settings.ema
        rows = [grads[layer.weight].reshape(layer.groups, layer.output_size, -1)]
        moved = [steps[layer.weight].reshape(layer.groups, layer.output_size, -1)]
        if layer.bias is not None:
            rows.append(grads[layer.bias].reshape(layer.groups, -1, 1))
            moved.append(steps[layer.bias].reshape(layer.groups, -1, 1))
        for group in range(layer.groups):
            a, g = state["A"][group] / correction, state["G"][group] / correction
            v = torch.cat([row[group] for row in rows], dim=1)
            dense = torch.kron(g.contiguous(), a.contiguous()) + damping * torch.eye(v.numel(), dtype=torch.float64)
            solved = -torch.linalg.solve(dense, v.reshape(-1)).reshape(v.shape)
            torch.testing.assert_close(torch.cat([part[group] for part in moved], dim=1), solved, rtol=1e-8, atol=1e-11)


def test_factored_damping_is_the_product_of_the_damped_inverses() -> None:
    model, damping = mlp(), 0.02
    inputs, targets = class_batch()
    grads = gradient(model, inputs, targets)
    for inverse in ("cholesky", "newton", "eigh"):
        model = mlp()
        optimizer = KFAC(model, **{**PLAIN, "damping": damping, "inverse": inverse})
        steps = step_of(model, optimizer, inputs, targets)
        layer = optimizer._partition.layers[0]
        a, g = (optimizer.state[layer.weight][key][0] / (1 - optimizer.settings.ema) for key in ("A", "G"))
        pi = ((a.trace() / len(a)) / (g.trace() / len(g))).sqrt()
        a_damped = a + pi * damping**0.5 * torch.eye(len(a), dtype=torch.float64)
        g_damped = g + damping**0.5 / pi * torch.eye(len(g), dtype=torch.float64)
        v = torch.cat([grads[0], grads[1][:, None]], dim=1)
        expected = -torch.linalg.solve(g_damped, v) @ torch.linalg.inv(a_damped)
        torch.testing.assert_close(torch.cat([steps[0], steps[1][:, None]], dim=1), expected, rtol=1e-7, atol=1e-10)


def test_the_diagonal_rule_divides_by_the_damped_fisher() -> None:
    model, damping = SmallCNN(), 0.05
    inputs, targets = class_batch(features=(2, 9, 8), classes=3)
    grads = dict(zip((p for p in model.parameters()), gradient(model, inputs, targets), strict=True))
    optimizer = KFAC(model, **{**PLAIN, "damping": damping}, seed=5)
    outputs = model(inputs)
    draws = torch.rand(6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    cumulative = outputs.softmax(dim=1).cumsum(dim=1)
    labels = (draws[:, None] > cumulative).sum(dim=1)
    sampled = torch.autograd.grad(F.cross_entropy(outputs, labels), model.scale)[0]
    steps = dict(zip(model.parameters(), step_of(model, optimizer, inputs, targets), strict=True))
    expected = -grads[model.scale] / (6 * sampled.square() + damping)
    torch.testing.assert_close(steps[model.scale], expected, rtol=1e-9, atol=1e-12)


def test_the_trust_region_bounds_the_step_in_the_metric() -> None:
    model, kappa = mlp(), 1e-4
    inputs, targets = class_batch()
    grads = gradient(model, inputs, targets)
    unclipped_model = mlp()
    unclipped = step_of(unclipped_model, KFAC(unclipped_model, **{**PLAIN, "damping": 0.01}), inputs, targets)
    clipped = step_of(model, KFAC(model, **{**PLAIN, "damping": 0.01, "kl_clip": kappa}), inputs, targets)
    decrease = -float(flat(unclipped) @ flat(grads))
    assert decrease > kappa
    torch.testing.assert_close(flat(clipped), flat(unclipped) * (kappa / decrease) ** 0.5)
    short_model = mlp()
    short = step_of(
        short_model, KFAC(short_model, **{**PLAIN, "damping": 0.01, "kl_clip": 9 * decrease}), inputs, targets
    )
    assert torch.equal(flat(short), flat(unclipped))  # inside the region nothing is scaled, and never up


def test_the_normalised_step_has_the_learning_rate_as_its_size() -> None:
    model = SmallCNN()
    inputs, targets = class_batch(features=(2, 9, 8), classes=3)
    options = {**PLAIN, "lr": 0.003, "step_norm": "rms", "damping": 1e-3}
    optimizer = KFAC(model, **options)
    steps = dict(zip(model.parameters(), step_of(model, optimizer, inputs, targets), strict=True))
    for unit in optimizer._partition.units:
        rms = flat([steps[p] for p in unit.parameters]).square().mean().sqrt()
        torch.testing.assert_close(float(rms), 0.003, rtol=1e-9, atol=0)
