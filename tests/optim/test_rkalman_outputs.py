"""Oracle 12 (outputs): the dense posterior (P⁻¹ + JᵀΣJ)⁻¹ with its diagonal kept, to 1e-12."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.errors import GrngError
from grng.optim import rkalman_outputs
from grng.optim.rkalman import RKalman
from tests.oracles.dense import output_jacobian
from tests.oracles.nets import Gained, SmallAttention, SmallCNN, class_batch, flat, half_squared_error, mlp, take_step

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp": (mlp, (5,), 4),
    "cnn": (SmallCNN, (2, 9, 8), 3),
    "attention": (SmallAttention, (5, 4), 3),
    "scalar": (Gained, (5,), 4),
}
EXACT: dict[str, Any] = {"observation": "outputs", "forgetting": 1.0, "rho": 0.0, "initial_covariance": 0.3}


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian"])
@pytest.mark.parametrize("update", ["joint", "none", "information"])
@pytest.mark.parametrize("covariance", ["diagonal", "block"])
@pytest.mark.parametrize("case", list(CASES))
def test_outputs_equal_the_dense_posterior(case: str, covariance: Any, update: Any, likelihood: Any) -> None:
    make, features, classes = CASES[case]
    model = make()
    optimizer = RKalman(model, **EXACT, covariance=covariance, update=update, likelihood=likelihood)
    counts = [p.numel() for p in model.parameters()]
    variance = torch.full((sum(counts),), 0.3, dtype=torch.float64)

    def kept(entries: Tensor) -> Tensor:
        if covariance == "diagonal":
            return entries
        return torch.cat([part.mean().expand(len(part)) for part in entries.split(counts)])

    for step in range(3):
        inputs, targets = class_batch(features=features, classes=classes, seed=step)
        outputs = model(inputs).detach()
        labels = F.one_hot(targets, classes).double()
        if likelihood == "categorical":
            means = outputs.softmax(dim=1)
            sigma = torch.block_diag(*[torch.diag(mean) - mean[:, None] * mean for mean in means])
        else:
            means, sigma = outputs, torch.eye(outputs.numel(), dtype=torch.float64)
        jacobian = output_jacobian(model, inputs)
        posterior = torch.linalg.inv(torch.diag(1 / variance) + jacobian.mT @ sigma @ jacobian)
        expected = flat(list(model.parameters())) + posterior @ (jacobian.mT @ (labels - means).flatten())
        if update == "joint":
            variance = variance - kept(variance - posterior.diagonal())
        elif update == "information":
            variance = variance / (1 + variance * kept((jacobian * (sigma @ jacobian)).sum(dim=0)))
        if likelihood == "categorical":
            take_step(model, optimizer, inputs, targets)
        else:
            take_step(model, optimizer, inputs, labels, loss=half_squared_error)
        torch.testing.assert_close(flat(list(model.parameters())), expected, rtol=1e-12, atol=1e-12)
        found = [optimizer.state[p]["covariance"].expand(p.shape) for p in model.parameters()]
        torch.testing.assert_close(flat(found), variance, rtol=1e-12, atol=1e-13)


def test_one_linear_output_a_step_is_the_textbook_kalman_filter() -> None:
    generator = torch.Generator().manual_seed(0)
    model, theta, variance = nn.Linear(1, 1, bias=False).double(), 0.0, 2.0
    nn.init.zeros_(model.weight)
    optimizer = RKalman(model, **{**EXACT, "initial_covariance": 2.0}, likelihood="gaussian")
    for _ in range(50):
        x, noise = torch.randn(2, 1, 1, generator=generator, dtype=torch.float64)
        y = 0.7 * x + noise
        gain = variance * float(x) / (variance * float(x) ** 2 + 1.0)
        theta += gain * (float(y) - theta * float(x))
        variance -= gain * float(x) * variance
        take_step(model, optimizer, x, y, loss=half_squared_error)
        torch.testing.assert_close(float(model.weight.detach()), theta, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(float(optimizer.state[model.weight]["covariance"]), variance, rtol=1e-12, atol=0)


def test_the_jacobian_is_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for chunk in (64, 5):
        monkeypatch.setattr(rkalman_outputs, "CHUNK", chunk)
        model = SmallCNN()
        take_step(model, RKalman(model, **EXACT), *class_batch(features=(2, 9, 8), classes=3))
        results.append(flat(list(model.parameters())))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-13)


def test_too_many_rows_or_entries_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    inputs, targets = class_batch(batch=600)
    with pytest.raises(GrngError, match=r"batch × outputs = 2400 rows of 74 parameters; at most 2048 rows .* smaller"):
        RKalman(model, observation="outputs").observe(model(inputs), targets)
    optimizer = RKalman(model, observation="outputs")
    for part in (slice(0, 300), slice(300, 512)):  # micro-batches count together
        optimizer.observe(model(inputs[part]), targets[part])
    with pytest.raises(GrngError, match="batch × outputs = 2052 rows"):
        optimizer.observe(model(inputs[:1]), targets[:1])
    monkeypatch.setattr(rkalman_outputs, "MOST_ENTRIES", 1000)
    with pytest.raises(GrngError, match="1000 entries fit"):
        RKalman(model, observation="outputs").observe(model(inputs[:6]), targets[:6])
