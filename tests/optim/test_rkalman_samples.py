"""Oracle 12 (samples): the rows of samples give a dense extended-Kalman update, in every covariance and update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature.sample_groups import SampleGroups
from grng.errors import GrngError
from grng.optim.rkalman import RKalman
from tests.oracles.dense import flat_per_sample
from tests.oracles.nets import Gained, SmallAttention, SmallCNN, class_batch, flat, mlp, take_step

GLOBAL: dict[str, Any] = {"observation": "samples", "filter_scope": "global"}
LAYER: dict[str, Any] = {"observation": "samples", "filter_scope": "layer"}
WHOLE = {"global": GLOBAL, "layer": {**LAYER, "curvature_batch": 1.0}}
SCOPES = {**WHOLE, "layer, half the batch": {**LAYER, "curvature_batch": 0.5}}
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp": (mlp, (5,), 4),
    "cnn": (SmallCNN, (2, 9, 8), 3),
    "attention": (SmallAttention, (5, 4), 3),
    "scalar": (Gained, (5,), 4),
}


def rows_h(model: nn.Module, inputs: Tensor, targets: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """H = −Σ_{b∈j} ∇ℓ_b `[rows, parameters]` by torch.func, and the group sizes."""
    outputs = model(inputs).detach()
    cotangent = outputs.softmax(dim=1) - F.one_hot(targets, outputs.shape[1])
    sizes = SampleGroups.split(len(inputs), rows).sizes
    each = flat_per_sample(model, inputs, cotangent).split(list(sizes))
    return -torch.stack([part.sum(dim=0) for part in each]), torch.tensor(sizes, dtype=torch.float64)


@pytest.mark.parametrize("rows", [6, 3, 4])
@pytest.mark.parametrize("case", list(CASES))
def test_samples_equal_the_dense_extended_kalman_update(case: str, rows: int) -> None:
    make, features, classes = CASES[case]
    model, noise = make(), 0.7
    optimizer = RKalman(model, **GLOBAL, rows=rows, noise=noise, initial_covariance=0.3, forgetting=1.0, rho=0.0)
    variance = torch.full((sum(p.numel() for p in model.parameters()),), 0.3, dtype=torch.float64)
    for step in range(3):
        inputs, targets = class_batch(features=features, classes=classes, seed=step)
        h, sizes = rows_h(model, inputs, targets, rows)
        posterior = torch.linalg.inv(torch.diag(1 / variance) + h.mT @ (h / (noise * sizes)[:, None]))
        gradient = torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters()))
        expected = flat(list(model.parameters())) - posterior @ (len(inputs) * flat(gradient))
        variance = posterior.diagonal()
        take_step(model, optimizer, inputs, targets)
        torch.testing.assert_close(flat(list(model.parameters())), expected, rtol=1e-10, atol=1e-12)
        found = flat([optimizer.state[p]["covariance"] for p in model.parameters()])
        torch.testing.assert_close(found, variance, rtol=1e-10, atol=0)


@pytest.mark.parametrize("covariance", ["diagonal", "block"])
@pytest.mark.parametrize("update", ["joint", "none", "information"])
def test_every_update_equals_a_reference_written_from_the_equations(update: Any, covariance: Any) -> None:
    model = SmallAttention()
    optimizer = RKalman(
        model,
        **GLOBAL,
        rows=4,
        noise=0.5,
        lr=0.5,
        rho=0.2,
        initial_covariance=0.3,
        forgetting=0.9,
        process_noise=1e-3,
        momentum=0.8,
        weight_decay=0.1,
        update=update,
        covariance=covariance,
    )
    counts = [p.numel() for p in model.parameters()]
    variance, momentum = torch.full((sum(counts),), 0.3, dtype=torch.float64), torch.zeros(sum(counts)).double()

    def kept(entries: Tensor) -> Tensor:
        if covariance == "diagonal":
            return entries
        return torch.cat([part.mean().expand(len(part)) for part in entries.split(counts)])

    for step in range(4):
        inputs, targets = class_batch(features=(5, 4), classes=3, seed=step)
        h, sizes = rows_h(model, inputs, targets, 4)
        gradient = flat(torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters())))
        variance = (variance / 0.9 + 1e-3).clamp(max=0.3)
        variance = variance / (1 + 6 * 0.2 * gradient.square().sum() * variance)
        noise = 0.5 * sizes
        gain = (variance * h).mT @ torch.linalg.inv(h @ (variance * h).mT + torch.diag(noise))
        change = gain @ noise  # the innovation ν is the noise
        if update == "joint":
            variance = variance - kept((gain * (h * variance).mT).sum(dim=1))
        elif update == "information":
            variance = variance / (1 + variance * kept((h.square() / noise[:, None]).sum(dim=0)))
        momentum = 0.8 * momentum + 0.2 * change
        expected = flat(list(model.parameters())) * (1 - 0.5 * 0.1) + 0.5 * momentum / (1 - 0.8 ** (step + 1))
        take_step(model, optimizer, inputs, targets)
        torch.testing.assert_close(flat(list(model.parameters())), expected, rtol=1e-10, atol=1e-12)
    found = [optimizer.state[p]["covariance"].expand(p.shape) for p in model.parameters()]
    torch.testing.assert_close(flat(found), variance, rtol=1e-10, atol=0)


def test_as_the_noise_grows_the_step_becomes_p_times_the_gradient() -> None:
    model = mlp()
    optimizer = RKalman(model, **GLOBAL, rows=3, noise=1e9, initial_covariance=0.01, rho=0.0)
    inputs, targets = class_batch()
    gradient = flat(torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters())))
    before = flat(list(model.parameters()))
    take_step(model, optimizer, inputs, targets)
    torch.testing.assert_close(flat(list(model.parameters())) - before, -0.01 * 6 * gradient, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("options", SCOPES.values(), ids=SCOPES)
def test_the_first_step_is_the_same_with_activations_in_place(options: dict[str, Any]) -> None:
    results = []
    for inplace in (False, True):
        model = SmallCNN(inplace=inplace)
        optimizer = RKalman(model, seed=1, **options)
        take_step(model, optimizer, *class_batch(features=(2, 9, 8), classes=3))
        results.append(flat(list(model.parameters())))
    assert torch.equal(*results)


def test_rows_that_are_not_finite_move_nothing_and_are_counted() -> None:
    model = mlp()
    optimizer = RKalman(model, **GLOBAL)
    optimizer.collect_diagnostics = True
    inputs, targets = class_batch()
    before = flat(list(model.parameters()))
    outputs = model(inputs * torch.inf)
    optimizer.observe(outputs, targets)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(flat(list(model.parameters())), before)
    assert optimizer.diagnostics()["failed_solves"] == 1.0


@pytest.mark.parametrize("options", SCOPES.values(), ids=SCOPES)
def test_observing_inside_autocast_keeps_the_rows_in_float32(options: dict[str, Any]) -> None:
    model = SmallCNN().float()
    optimizer = RKalman(model, **options)
    inputs, targets = class_batch(features=(2, 9, 8), classes=3)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(inputs.float())
            optimizer.observe(outputs, targets)
            loss = F.cross_entropy(outputs, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tensors = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor) and v.dim()]
    assert tensors
    assert {value.dtype for value in tensors} <= {torch.float32, torch.int64}
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("options", WHOLE.values(), ids=WHOLE)
def test_observe_after_backward_says_what_to_call(options: dict[str, Any]) -> None:
    model = SmallAttention()
    optimizer = RKalman(model, **options)
    inputs, targets = class_batch(features=(5, 4), classes=3)
    outputs = model(inputs)
    F.cross_entropy(outputs, targets).backward()
    with pytest.raises(GrngError, match=r"between the forward and loss.backward\(\)"):
        optimizer.observe(outputs, targets)
