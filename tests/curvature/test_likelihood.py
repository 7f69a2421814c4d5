"""Likelihoods against torch's losses and against the enumeration of every label."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from grng.curvature.likelihood import LIKELIHOODS, Bernoulli
from grng.errors import GrngError
from grng.optim.kfac import KFAC
from grng.optim.rkalman import RKalman
from tests.oracles.dense import dense_fisher_bernoulli
from tests.oracles.nets import binary_batch, binary_cross_entropy, mlp, take_step

# torch's own losses, the mean over the batch of what the likelihood calls ℓ_b
TORCH: dict[str, Any] = {
    "categorical": F.cross_entropy,
    "bernoulli": lambda z, y: F.binary_cross_entropy_with_logits(z, y) * z.shape[1],
    "gaussian": lambda z, y: 0.5 * F.mse_loss(z, y) * z.shape[1],
}


def outputs_and_targets(name: str) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    outputs = 3 * torch.randn(5, 3, dtype=torch.float64)
    targets = torch.rand(5, 3, dtype=torch.float64)
    return outputs, targets / targets.sum(dim=1, keepdim=True) if name == "categorical" else targets


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_losses_and_their_gradients_are_those_of_torch(name: str) -> None:
    outputs, targets = outputs_and_targets(name)
    likelihood = LIKELIHOODS[name]
    expected = TORCH[name](outputs.requires_grad_(), targets)
    torch.testing.assert_close(likelihood.losses(outputs, targets).mean(), expected, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(expected, outputs)
    found = likelihood.output_gradient(outputs.detach(), targets) / len(outputs)
    torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-14)


def test_the_exact_bernoulli_gradients_enumerate_every_label() -> None:
    outputs, _ = outputs_and_targets("bernoulli")
    columns = torch.stack(list(Bernoulli().exact_gradients(outputs)))
    found = torch.einsum("kbi,kbj->bij", columns, columns)
    expected = torch.zeros_like(found)
    for label in itertools.product((0.0, 1.0), repeat=3):
        y = torch.tensor(label, dtype=torch.float64)
        probability = torch.where(y > 0, outputs.sigmoid(), 1 - outputs.sigmoid()).prod(dim=1)
        deviation = outputs.sigmoid() - y
        expected += probability[:, None, None] * deviation[:, :, None] * deviation[:, None, :]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_sampled_bernoulli_labels_are_drawn_output_by_output_from_the_model() -> None:
    outputs = torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64).repeat(100_000, 1)
    uniforms = torch.rand(outputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = outputs.sigmoid() - Bernoulli().sampled_gradient(outputs, uniforms)
    assert set(labels.round(decimals=9).unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(labels.mean(dim=0), outputs[0].sigmoid(), rtol=0, atol=0.005)
    torch.testing.assert_close(torch.corrcoef(labels.T), torch.eye(3, dtype=torch.float64), rtol=0, atol=0.02)


def test_confident_logits_give_finite_gradients() -> None:
    outputs = torch.tensor([[-90.0, 40.0, 90.0]])
    columns = torch.stack(list(Bernoulli().exact_gradients(outputs)))
    assert torch.isfinite(columns).all()
    assert float(columns[1, 0, 1]) == pytest.approx(torch.tensor(-20.0).exp().item(), rel=1e-5)


def test_one_linear_layer_and_one_sample_have_the_bernoulli_models_dense_fisher() -> None:
    model = mlp(sizes=(5, 4), bias=False)
    inputs, targets = binary_batch(batch=1)
    optimizer = KFAC(model, lr=0.0, ema=0.0, fisher="exact", likelihood="bernoulli")
    take_step(model, optimizer, inputs, targets, loss=binary_cross_entropy)
    state = optimizer.state[next(model.parameters())]
    block = torch.kron(state["G"][0].contiguous(), state["A"][0].contiguous())
    torch.testing.assert_close(block, dense_fisher_bernoulli(model, inputs, "0.weight"), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("fisher", ["sampled", "empirical"])
def test_sampled_and_empirical_bernoulli_factors_equal_a_loop_over_samples(fisher: Any) -> None:
    model = mlp(sizes=(5, 4))
    inputs, targets = binary_batch()
    optimizer = KFAC(model, lr=0.0, ema=0.0, curvature_batch=1.0, fisher=fisher, likelihood="bernoulli", seed=3)
    take_step(model, optimizer, inputs, targets, loss=binary_cross_entropy)
    outputs = model(inputs).detach()
    draws = torch.rand(outputs.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = (draws < outputs.sigmoid()).double() if fisher == "sampled" else targets
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for z, y in zip(outputs, labels, strict=True):
        e = torch.func.grad(lambda logits, y=y: F.binary_cross_entropy_with_logits(logits, y, reduction="sum"))(z)
        expected += torch.outer(e, e) / len(outputs)
    torch.testing.assert_close(optimizer.state[next(model.parameters())]["G"][0], expected, rtol=1e-10, atol=1e-12)


def test_the_deviance_is_twice_the_summed_loss() -> None:
    model = mlp()
    inputs, targets = binary_batch()
    optimizer = RKalman(model, observation="loss", likelihood="bernoulli")
    optimizer.collect_diagnostics = True
    loss = take_step(model, optimizer, inputs, targets, loss=binary_cross_entropy)
    assert optimizer.diagnostics()["innovation"] == pytest.approx(2 * len(inputs) * loss, rel=1e-12)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            torch.zeros(6, 3),
            r"outputs of shape \[6, 4\] and a float32 tensor of shape \[6, 3\].*floats between 0 and 1",
        ),
        (torch.zeros(6, 4, dtype=torch.int64), r"a int64 tensor of shape \[6, 4\]"),
        (torch.full((6, 4), 1.5), "targets between 1.5 and 1.5.*Pass targets between 0 and 1"),
        (torch.full((6, 4), float("nan")), "targets between nan and nan"),
    ],
)
def test_targets_that_do_not_fit_bernoulli_are_refused(targets: Tensor, message: str) -> None:
    model = mlp()
    optimizer = KFAC(model, likelihood="bernoulli")
    with pytest.raises(GrngError, match=message):
        optimizer.observe(model(binary_batch()[0]), targets)
