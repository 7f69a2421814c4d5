"""One filter a layer: the dense posterior step of kept rows, to 1e-10; AdamW for the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature.sample_groups import SampleGroups
from grng.optim.rkalman import RKalman
from tests.oracles.dense import per_sample_gradients
from tests.oracles.nets import SmallCNN, class_batch, flat, mlp, take_step

LAYER: dict[str, Any] = {"observation": "samples", "filter_scope": "layer"}
GLOBAL: dict[str, Any] = {"observation": "samples", "filter_scope": "global"}
WHOLE: dict[str, Any] = {**LAYER, "curvature_batch": 1.0}


@pytest.mark.parametrize("make", [mlp, SmallCNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize(
    ("rows", "memory", "rho", "share"),
    [(3, 2, 0.3, 1.0), (4, 3, 1e-3, 1.0), (6, 1, 10.0, 1.0), (2, 2, 0.0, 1.0), (3, 2, 0.3, 0.6), (2, 3, 1e-3, 0.3)],
)
def test_the_step_is_that_of_the_dense_posterior(make: Any, rows: int, memory: int, rho: float, share: float) -> None:
    features, classes = ((5,), 4) if make is mlp else ((2, 9, 8), 3)
    model, lr, decay = make(), 0.01, 0.1
    options: dict[str, Any] = {
        "rows": rows,
        "memory": memory,
        "rho": rho,
        "lr": lr,
        "momentum": 0.8,
        "weight_decay": decay,
    }
    optimizer = RKalman(model, **LAYER, **options, curvature_batch=share, seed=4)
    observed = math.ceil(6 * share)
    draws = torch.Generator().manual_seed(4)
    names = {name for name, p in model.named_parameters() if p.dim() > 1 and name != "scale"}
    twin = make()
    others = torch.optim.AdamW(
        [p for name, p in twin.named_parameters() if name not in names], lr=0.01, weight_decay=decay
    )
    momenta = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    for step in range(memory + 3):
        inputs, targets = class_batch(features=features, classes=classes, seed=step)
        outputs = model(inputs)
        uniforms = torch.rand(observed, generator=draws, dtype=torch.float64)
        probabilities = outputs.detach()[:observed].softmax(dim=1)
        labels = (uniforms[:, None] > probabilities.cumsum(dim=1)).sum(dim=1)
        sampled = per_sample_gradients(model, inputs[:observed], probabilities - F.one_hot(labels, classes))
        sizes = list(SampleGroups.split(observed, rows).sizes)
        loss = F.cross_entropy(outputs, targets)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        twin.load_state_dict(model.state_dict())
        expected = {}
        for (name, p), gradient in zip(model.named_parameters(), gradients, strict=True):
            twin.get_parameter(name).grad = gradient.clone()
            if name not in names:
                continue
            block = torch.stack([part.sum(dim=0).flatten() / len(part) ** 0.5 for part in sampled[name].split(sizes)])
            kept[name] = [*kept[name], block][-memory:]
            h = torch.cat(kept[name])
            damping = rho * h.square().sum(dim=1).mean()
            momenta[name] = 0.8 * momenta[name] + 0.2 * gradient
            vector = (0.8 * momenta[name] + 0.2 * gradient).flatten()
            if rho:
                posterior = torch.linalg.inv(damping * torch.eye(len(vector)).double() + h.mT @ h)
                change = -damping * posterior @ vector
            else:  # the limit: what the rows span is projected out
                change = torch.linalg.pinv(h, rtol=1e-10) @ (h @ vector) - vector
            change = (change / change.square().mean().sqrt()).reshape(p.shape)
            expected[name] = (p * (1 - lr * decay) + lr * change).detach()
        others.step()
        expected |= {name: p.detach().clone() for name, p in twin.named_parameters() if name not in names}
        take_step(model, optimizer, inputs, targets)
        rtol, atol = (1e-10, 1e-10) if rho else (1e-5, 1e-7)
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.detach(), expected[name], rtol=rtol, atol=atol)


def test_rows_are_forgotten_in_order_and_an_uneven_last_batch_is_no_row_of_zeros() -> None:
    model = mlp()
    optimizer = RKalman(model, **WHOLE, rows=4, memory=2, rho=0.3)
    weight, head = model.get_parameter("0.weight"), model.get_parameter("2.weight")
    for step, batch in enumerate((6, 6, 6, 3, 6)):
        take_step(model, optimizer, *class_batch(batch=batch, seed=step))
    state = optimizer.state[weight]
    assert state["filled"] == [4, 3]
    assert state["rows"].shape == (8, 35)
    assert state["rows"][:7].abs().sum(dim=1).min() > 0
    assert torch.equal(state["rows"][7], torch.zeros(35, dtype=torch.float64))
    torch.testing.assert_close(state["gram"], state["rows"] @ state["rows"].mT)
    optimizer.collect_diagnostics = True
    take_step(model, optimizer, *class_batch(seed=9))
    dampings = [
        0.3 * float(optimizer.state[p]["gram"].diagonal().sum() / sum(optimizer.state[p]["filled"]))
        for p in (weight, head)
    ]
    found = optimizer.diagnostics()
    assert (found["damping_min"], found["damping_max"]) == (min(dampings), max(dampings))


def test_labels_are_sampled_and_not_the_data_s() -> None:
    kept = []
    for offset in (0, 1):
        model = mlp()
        optimizer = RKalman(model, **LAYER, seed=7)
        inputs, targets = class_batch()
        take_step(model, optimizer, inputs, (targets + offset) % 4)
        kept.append(optimizer.state[model.get_parameter("0.weight")]["rows"])
    assert torch.equal(*kept)


def test_coverage_names_what_has_a_filter_and_why_the_rest_has_none() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, 4, bias=False)).double()
    optimizer = RKalman(model, **LAYER)
    rows = {row.parameter: (row.rule, row.reason) for row in optimizer.coverage().rows}  # type: ignore[union-attr]
    assert rows == {
        "0.weight": ("filter", ""),
        "0.bias": ("adamw", "Linear (bias)"),
        "1.weight": ("adamw", "LayerNorm (no Kronecker rule)"),
        "1.bias": ("adamw", "LayerNorm (no Kronecker rule)"),
        "2.weight": ("filter", ""),
    }
    summary = optimizer.coverage().summary()  # type: ignore[union-attr]
    assert summary.startswith("2 of 3 layers, 75.0 % of parameters in layer filters; adamw: ")
    assert RKalman(mlp(), **GLOBAL).coverage() is None


def test_a_group_s_learning_rate_scales_both_rules() -> None:
    model = mlp()
    optimizer = RKalman(
        model, params=[{"params": list(model.parameters()), "lr": 0.0015}], **LAYER, lr=0.003, other_lr=0.02
    )
    assert {group["rule"]: group["lr"] for group in optimizer.param_groups} == {"filter": 0.0015, "adamw": 0.01}


@pytest.mark.parametrize("options", [WHOLE, GLOBAL], ids=["layer", "global"])
@pytest.mark.parametrize("parts", [(6, 6), (3, 3, 3, 3)])
def test_micro_batches_add_up_to_the_joined_batch_where_rows_divide_them(
    options: dict[str, Any], parts: tuple[int, ...]
) -> None:
    whole, split = SmallCNN(), SmallCNN()
    one, many = (RKalman(model, **options, rows=3, seed=1) for model in (whole, split))
    for step in range(4):
        inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=12, seed=step)
        take_step(whole, one, inputs, targets)
        for x, y in zip(inputs.split(list(parts)), targets.split(list(parts)), strict=True):
            outputs = split(x)
            many.observe(outputs, y)
            (F.cross_entropy(outputs, y) * len(x) / 12).backward()
        many.step()
        many.zero_grad()
    torch.testing.assert_close(flat(list(split.parameters())), flat(list(whole.parameters())), rtol=1e-9, atol=1e-11)
