"""Eigenvalue correction: S against per-sample gradients by torch.func, its moving average, and the step it gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature import eigenvalues
from grng.curvature.eigenvalues import add_squares, carry_over
from grng.errors import HyperparameterError
from grng.optim.kfac import KFAC
from grng.optim.reng import RENG
from grng.optim.ring import RING
from tests.oracles.dense import dense_fisher_categorical, gradient_and_hvp
from tests.oracles.nets import SmallAttention, SmallCNN, class_batch, mlp, step_of, take_step
from tests.oracles.per_sample import per_sample_gradients, weighted_gradients

CORRECTED: dict[str, Any] = {
    "damping_form": "exact",
    "eigenvalue_correction": True,
    "curvature_interval": 1,
    "curvature_batch": 1.0,
}
PLAIN: dict[str, Any] = {
    "lr": 1.0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "step_norm": "none",
    "kl_clip": None,
    "other_parameters": "diagonal",
    "momentum_form": "step",
}
MODELS: dict[str, Any] = {
    "mlp": (mlp, (5,), 4),
    "cnn": (SmallCNN, (2, 9, 8), 3),
    "attention": (SmallAttention, (5, 4), 3),
}


def matrices(gradients: dict[str, Tensor], layer: Any) -> Tensor:
    """Per-sample gradients of a layer as `[samples, groups, out, in]`, the bias as the last column."""
    weight = gradients[f"{layer.name}.weight"]
    matrix = weight.reshape(len(weight), layer.groups, layer.output_size, -1)
    if layer.bias is None:
        return matrix
    bias = gradients[f"{layer.name}.bias"].reshape(len(weight), layer.groups, layer.output_size, 1)
    return torch.cat([matrix, bias], dim=3)


def measured(gradients: dict[str, Tensor], layer: Any, state: dict[str, Any], batch: int) -> Tensor:
    """Σ_b (U_Gᵀ M_b U_A)² / batch, one sample, group and entry pair at a time."""
    total = torch.zeros(layer.groups, layer.output_size, layer.input_size, dtype=torch.float64)
    for sample in matrices(gradients, layer):
        for group, matrix in enumerate(sample):
            total[group] += (state["G_vectors"][group].mT @ matrix @ state["A_vectors"][group]).square() / batch
    return total


def gradients_for(fisher: str, model: nn.Module, inputs: Tensor, targets: Tensor, draws: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        probabilities = model(inputs).softmax(dim=1)
    if fisher == "empirical":
        return per_sample_gradients(model, inputs, targets)
    if fisher == "sampled":
        labels = (draws[:, None] > probabilities.cumsum(dim=1)).sum(dim=1)
        return per_sample_gradients(model, inputs, labels)
    classes = [torch.full_like(targets, c) for c in range(probabilities.shape[1])]
    return weighted_gradients(model, inputs, classes, list(probabilities.unbind(dim=1)))


@pytest.mark.parametrize("weight_sharing", ["expand", "reduce"])
@pytest.mark.parametrize("fisher", ["sampled", "exact", "empirical"])
@pytest.mark.parametrize("kind", list(MODELS))
def test_the_first_step_measures_the_mean_square_of_the_per_sample_gradients(
    kind: str, fisher: Any, weight_sharing: Any
) -> None:
    make, features, classes = MODELS[kind]
    model = make()
    inputs, targets = class_batch(features=features, classes=classes)
    draws = torch.rand(6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = gradients_for(fisher, model, inputs, targets, draws)
    optimizer = KFAC(model, lr=0.0, **CORRECTED, fisher=fisher, weight_sharing=weight_sharing, seed=4)
    take_step(model, optimizer, inputs, targets)
    for layer in optimizer._partition.layers:
        state = optimizer.state[layer.weight]
        found = state["eigenvalues"] / (1 - optimizer.settings.ema)
        torch.testing.assert_close(found, measured(expected, layer, state, 6), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", ["kfac", "ring", "reng"])
def test_the_step_divides_by_the_corrected_eigenvalues(name: str) -> None:
    model, damping, rho = SmallCNN(), 0.02, 0.3
    inputs, targets = class_batch(features=(2, 9, 8), classes=3)
    gradient, product = gradient_and_hvp(model, inputs, targets)
    vector = {key: g + rho * product[key] if name == "reng" else g for key, g in gradient.items()}
    squares = gradients_for("empirical", model, inputs, targets, torch.empty(0))
    options = {**PLAIN, **CORRECTED, "damping": damping, "fisher": "empirical"}
    optimizer: Any = KFAC(model, **options)
    if name == "ring":
        optimizer = RING(model, **options, rho=rho)
    if name == "reng":
        optimizer = RENG(model, **options, rho=rho)
    moved = step_of(model, optimizer, inputs, targets)
    steps = dict(zip([key for key, _ in model.named_parameters()], moved, strict=True))
    for layer in optimizer._partition.layers:
        state = optimizer.state[layer.weight]
        (v,), (step,) = (matrices({k: t[None] for k, t in of.items()}, layer) for of in (vector, steps))
        regularised = damping + rho * float(v.square().sum()) if name == "ring" else damping
        s = measured(squares, layer, state, 6)
        for group in range(layer.groups):
            basis = torch.kron(state["G_vectors"][group].contiguous(), state["A_vectors"][group].contiguous())
            dense = basis @ torch.diag(s[group].reshape(-1) + regularised) @ basis.mT
            solved = -torch.linalg.solve(dense, v[group].reshape(-1)).reshape(v[group].shape)
            torch.testing.assert_close(step[group], solved, rtol=1e-8, atol=1e-11)


def test_the_average_moves_with_the_factors_and_is_carried_over_where_the_bases_change() -> None:
    model, decay = SmallAttention(), 0.8
    options = {**CORRECTED, "curvature_interval": 2, "inverse_interval": 3, "fisher": "empirical", "ema": decay}
    optimizer = KFAC(model, lr=0.05, **options)
    averages: dict[str, Tensor] = {}
    bases: dict[str, Tensor] = {}
    changes = 0
    for step in range(8):
        inputs, targets = class_batch(features=(5, 4), classes=3, seed=step)
        squares = per_sample_gradients(model, inputs, targets)
        take_step(model, optimizer, inputs, targets)
        for layer in optimizer._partition.layers:
            state = optimizer.state[layer.weight]
            basis = torch.kron(state["G_vectors"][0].contiguous(), state["A_vectors"][0].contiguous())
            if layer.name in bases and not torch.equal(bases[layer.name], basis):
                assert step % 3 == optimizer._phases[layer.weight]
                old = bases[layer.name] @ torch.diag(averages[layer.name].reshape(-1)) @ bases[layer.name].mT
                averages[layer.name] = (basis.mT @ old @ basis).diagonal().reshape(averages[layer.name].shape)
                changes += 1
            if step % 2 == 0:
                new = measured(squares, layer, state, 6)
                averages[layer.name] = decay * averages.get(layer.name, torch.zeros_like(new)) + (1 - decay) * new
            bases[layer.name] = basis
            torch.testing.assert_close(state["eigenvalues"], averages[layer.name], rtol=1e-8, atol=1e-14)
            assert state["eigenvalues_updates"] == step // 2 + 1
    assert changes == 4  # two layers, at the steps 3 and 6


def test_with_one_linear_layer_and_one_sample_there_is_nothing_to_correct() -> None:
    model = mlp(sizes=(5, 4))
    inputs, targets = class_batch(batch=1)
    optimizer = KFAC(model, lr=0.0, **CORRECTED, fisher="exact")
    take_step(model, optimizer, inputs, targets)
    state = optimizer.state[next(model.parameters())]
    correction = 1 - optimizer.settings.ema
    expected = state["G_values"][:, :, None] * state["A_values"][:, None, :]
    torch.testing.assert_close(state["eigenvalues"] / correction, expected, rtol=1e-9, atol=1e-12)


def test_the_corrected_block_is_nearer_to_the_dense_fisher() -> None:
    model = mlp(bias=False)
    inputs, targets = class_batch(batch=5)
    optimizer = KFAC(model, lr=0.0, **CORRECTED, fisher="exact")
    take_step(model, optimizer, inputs, targets)
    for layer in optimizer._partition.layers:
        state = optimizer.state[layer.weight]
        dense = dense_fisher_categorical(model, inputs, f"{layer.name}.weight")
        basis = torch.kron(state["G_vectors"][0].contiguous(), state["A_vectors"][0].contiguous())
        corrected = state["eigenvalues"].reshape(-1) / (1 - optimizer.settings.ema)
        torch.testing.assert_close(corrected, (basis.mT @ dense @ basis).diagonal(), rtol=1e-9, atol=1e-12)
        kronecker = (state["G_values"][0][:, None] * state["A_values"][0]).reshape(-1)
        errors = [float((dense - basis @ torch.diag(s) @ basis.mT).norm()) for s in (corrected, kronecker)]
        assert errors[0] < 0.99 * errors[1]


def test_a_layer_used_twice_has_the_gradient_of_both_uses() -> None:
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
    expected = per_sample_gradients(model, inputs, targets)
    optimizer = KFAC(model, lr=0.0, ema=0.0, **CORRECTED, fisher="empirical")
    take_step(model, optimizer, inputs, targets)
    layer = optimizer._partition.layers[0]
    state = optimizer.state[layer.weight]
    torch.testing.assert_close(state["eigenvalues"], measured(expected, layer, state, 6), rtol=1e-9, atol=1e-14)


def test_part_of_the_batch_measures_the_first_samples() -> None:
    model = SmallAttention()
    inputs, targets = class_batch(features=(5, 4), classes=3)
    expected = per_sample_gradients(model, inputs[:3], targets[:3])
    options = {**CORRECTED, "curvature_batch": 0.5}
    optimizer = KFAC(model, lr=0.0, ema=0.0, **options, fisher="empirical")
    take_step(model, optimizer, inputs, targets)
    for layer in optimizer._partition.layers:
        state = optimizer.state[layer.weight]
        torch.testing.assert_close(state["eigenvalues"], measured(expected, layer, state, 3), rtol=1e-9, atol=1e-14)


def test_chunks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    inputs, gradients = torch.randn(2, 7, 3, 5).double(), torch.randn(2, 7, 3, 4).double()
    whole, parts = torch.zeros(2, 4, 5).double(), torch.zeros(2, 4, 5).double()
    add_squares(whole, inputs, gradients)
    monkeypatch.setattr(eigenvalues, "CHUNK", 2 * 40)
    add_squares(parts, inputs, gradients)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
    expected = torch.einsum("gbto,gbti->gboi", gradients, inputs).square().sum(dim=1)
    torch.testing.assert_close(whole, expected, rtol=1e-12, atol=1e-12)


def test_carrying_over_keeps_the_trace_and_follows_permuted_and_flipped_eigenvectors() -> None:
    torch.manual_seed(0)
    average = torch.rand(2, 4, 5).double()
    old_a, new_a = (torch.linalg.qr(torch.randn(2, 5, 5).double())[0] for _ in range(2))
    old_g, new_g = (torch.linalg.qr(torch.randn(2, 4, 4).double())[0] for _ in range(2))
    carried = carry_over(average, old_a, old_g, new_a, new_g)
    assert bool((carried >= 0).all())
    torch.testing.assert_close(carried.sum(dim=(1, 2)), average.sum(dim=(1, 2)))
    order = torch.tensor([3, 0, 4, 1, 2])
    flipped = old_a[:, :, order] * torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]).double()
    same = carry_over(average, old_a, old_g, flipped, old_g)
    torch.testing.assert_close(same, average[:, :, order], rtol=1e-10, atol=1e-12)


def test_an_input_overwritten_between_observe_and_step_is_not_measured() -> None:
    model = mlp()
    inputs, targets = class_batch()
    optimizer = KFAC(model, **CORRECTED, inverse_interval=100)
    take_step(model, optimizer, inputs.clone(), targets)
    for _ in range(2):  # past the refreshes of the first two steps
        take_step(model, optimizer, inputs.clone(), targets)
    kept = [optimizer.state[layer.weight]["eigenvalues"].clone() for layer in optimizer._partition.layers]
    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    F.cross_entropy(outputs, targets).backward()
    inputs.zero_()
    optimizer.step()
    first, second = (optimizer.state[layer.weight] for layer in optimizer._partition.layers)
    assert torch.equal(first["eigenvalues"], kept[0])
    assert not torch.equal(second["eigenvalues"], kept[1])


@pytest.mark.parametrize("make", [KFAC, RING, RENG])
def test_the_factored_form_has_no_eigenvalues_to_correct(make: Any) -> None:
    with pytest.raises(HyperparameterError, match=r"eigenvalue_correction: .*Choose damping_form=exact"):
        make(mlp(), eigenvalue_correction=True)


def test_a_half_precision_model_keeps_its_eigenvalues_in_float32() -> None:
    model = SmallAttention().to(torch.bfloat16)
    inputs, targets = class_batch(features=(5, 4), classes=3)
    optimizer = KFAC(model, **CORRECTED, inverse_interval=1)
    for _ in range(3):
        take_step(model, optimizer, inputs.bfloat16(), targets, loss=lambda z, y: F.cross_entropy(z.float(), y))
    for layer in optimizer._partition.layers:
        assert optimizer.state[layer.weight]["eigenvalues"].dtype == torch.float32
    assert all(torch.isfinite(p).all() for p in model.parameters())
