"""Oracles 9 to 11: R-Kalman is the textbook filter where there is one; regularisation is added precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.errors import HyperparameterError
from grng.optim.rkalman import RKalman
from tests.oracles.nets import class_batch, flat, half_squared_error, mlp, take_step

FILTER: dict[str, Any] = {
    "observation": "loss",
    "momentum": 0.0,
    "lr": 1.0,
    "rho": 0.0,
    "forgetting": 1.0,
    "process_noise": 0.0,
    "noise_ema": 0.0,
    "likelihood": "gaussian",
}


class ScalarLinear(nn.Module):
    """z = θ x."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.theta * x


@pytest.mark.parametrize("covariance", ["diagonal", "block"])
def test_scalar_linear_gaussian_is_the_textbook_kalman_filter(covariance: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    model, theta, variance = ScalarLinear(), 0.0, 2.0
    optimizer = RKalman(model, **FILTER, initial_covariance=2.0, covariance=covariance)
    for _ in range(100):
        x = torch.randn(1, 1, generator=generator, dtype=torch.float64)
        y = 0.7 * x + torch.randn(1, 1, generator=generator, dtype=torch.float64)
        gain = variance * float(x) / (variance * float(x) ** 2 + 1.0)
        theta += gain * (float(y) - theta * float(x))
        variance -= gain * float(x) * variance
        take_step(model, optimizer, x, y, loss=half_squared_error)
        torch.testing.assert_close(float(model.theta.detach()), theta, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(float(optimizer.state[model.theta]["covariance"]), variance, rtol=1e-9, atol=0)


def test_one_hot_features_give_the_bayesian_posterior() -> None:
    generator = torch.Generator().manual_seed(1)
    model = nn.Linear(4, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    prior = 3.0
    optimizer = RKalman(model, **FILTER, initial_covariance=prior)
    counts, sums = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for _ in range(60):
        index = int(torch.randint(0, 4, (1,), generator=generator))
        x = F.one_hot(torch.tensor([index]), 4).double()
        y = torch.randn(1, 1, generator=generator, dtype=torch.float64) + index
        counts[index] += 1
        sums[index] += float(y)
        take_step(model, optimizer, x, y, loss=half_squared_error)
    posterior_precision = 1 / prior + counts
    torch.testing.assert_close(model.weight.detach()[0], sums / posterior_precision, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        optimizer.state[model.weight]["covariance"][0], 1 / posterior_precision, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("covariance", ["diagonal", "block"])
def test_regularisation_adds_the_precision_b_rho_g_squared(covariance: Any) -> None:
    model, rho, batch = mlp(), 0.4, 6
    inputs, targets = class_batch(batch=batch)
    grads = torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters()))
    optimizer = RKalman(
        model,
        observation="loss",
        lr=1.0,
        rho=rho,
        initial_covariance=0.05,
        forgetting=1.0,
        momentum=0.0,
        update="none",
        covariance=covariance,
    )
    take_step(model, optimizer, inputs, targets)
    expected = 1.0 / (1.0 / 0.05 + batch * rho * float(flat(grads).square().sum()))
    for p in model.parameters():
        torch.testing.assert_close(
            optimizer.state[p]["covariance"],
            torch.full_like(optimizer.state[p]["covariance"], expected),
            rtol=1e-12,
            atol=0,
        )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("covariance", ["diagonal", "block"])
@pytest.mark.parametrize("update", ["joint", "none", "information"])
def test_every_update_equals_a_reference_written_from_the_equations(
    update: Any, covariance: Any, momentum: float
) -> None:
    options: dict[str, Any] = {
        "observation": "loss",
        "lr": 0.5,
        "rho": 0.2,
        "initial_covariance": 0.05,
        "forgetting": 0.9,
        "process_noise": 1e-3,
        "momentum": momentum,
        "weight_decay": 0.1,
    }
    if update != "information":
        options["noise_ema"] = 0.8
    model, twin = mlp(), mlp()
    optimizer = RKalman(model, **options, update=update, covariance=covariance, seed=2)
    draws = torch.Generator().manual_seed(2)
    names = [name for name, _ in twin.named_parameters()]
    values = [p.detach().clone() for p in twin.parameters()]
    variances = [torch.full_like(v if covariance == "diagonal" else v.sum(), 0.05) for v in values]
    momenta = [torch.zeros_like(v) for v in values]
    noise = 0.0
    for step in range(5):
        inputs, targets = class_batch(seed=step)
        batch = len(inputs)
        leaves = [v.clone().requires_grad_() for v in values]
        outputs = torch.func.functional_call(twin, dict(zip(names, leaves, strict=True)), (inputs,))
        loss = F.cross_entropy(outputs, targets)
        g = torch.autograd.grad(loss, leaves, retain_graph=True)
        deviance = 2 * batch * float(loss.detach())
        square = float(flat(g).square().sum())
        variances = [(p / 0.9 + 1e-3).clamp(max=0.05) for p in variances]
        variances = [p / (1 + batch * 0.2 * square * p) for p in variances]
        if update == "information":
            uniform = torch.rand(batch, generator=draws, dtype=torch.float64)
            labels = (uniform[:, None] > outputs.detach().softmax(dim=1).cumsum(dim=1)).sum(dim=1)
            sampled = torch.autograd.grad(F.cross_entropy(outputs, labels), leaves)
            precision = [batch**2 * s.square() for s in sampled]
            variances = [
                p / (1 + p * (h if covariance == "diagonal" else h.mean()))
                for p, h in zip(variances, precision, strict=True)
            ]
            steps = [-p * batch * gradient for p, gradient in zip(variances, g, strict=True)]
        else:
            noise = 0.8 * noise + 0.2 * deviance
            h = [-batch * gradient for gradient in g]
            spread = sum(float((row.square() * p).sum()) for row, p in zip(h, variances, strict=True))
            s = spread + noise / (1 - 0.8 ** (step + 1))
            gains = [p * row / s for p, row in zip(variances, h, strict=True)]
            steps = [gain * deviance for gain in gains]
            if update == "joint":
                falls = [gain * row * p for gain, row, p in zip(gains, h, variances, strict=True)]
                variances = [
                    p - (f if covariance == "diagonal" else f.mean()) for p, f in zip(variances, falls, strict=True)
                ]
        if momentum:
            momenta = [momentum * m + (1 - momentum) * d for m, d in zip(momenta, steps, strict=True)]
            steps = [m / (1 - momentum ** (step + 1)) for m in momenta]
        values = [v * (1 - 0.5 * 0.1) + 0.5 * d for v, d in zip(values, steps, strict=True)]
        take_step(model, optimizer, inputs, targets)
    torch.testing.assert_close(flat(list(model.parameters())), flat(values), rtol=1e-10, atol=1e-13)
    found = [optimizer.state[p]["covariance"] for p in model.parameters()]
    torch.testing.assert_close(flat(found), flat(variances), rtol=1e-10, atol=1e-15)


def test_the_variance_never_exceeds_its_start_and_never_turns_negative() -> None:
    model = mlp()
    optimizer = RKalman(model, observation="loss", lr=1.0, initial_covariance=10.0, process_noise=5.0, rho=0.0)
    for step in range(20):
        take_step(model, optimizer, *class_batch(seed=step))
        for p in model.parameters():
            assert float(optimizer.state[p]["covariance"].min()) >= 0.0
            assert float(optimizer.state[p]["covariance"].max()) <= 10.0
            assert torch.isfinite(p).all()


def test_a_noise_average_without_effect_is_refused() -> None:
    with pytest.raises(HyperparameterError, match="noise_ema has no effect with update=information"):
        RKalman(mlp(), observation="loss", update="information", noise_ema=0.5)
