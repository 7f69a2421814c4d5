"""The diagonal Fisher matrix of what has no Kronecker factors: unbiased, whatever the labels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grng.optim.kfac import KFAC
from tests.oracles.dense import per_sample_gradients
from tests.oracles.nets import class_batch, take_step

BATCH, CLASSES = 3, 3


class Scaled(nn.Module):
    """A Linear layer and a scale of its inputs, which has no Kronecker factors."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scale, self.head = nn.Parameter(torch.ones(4)), nn.Linear(4, CLASSES)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x * self.scale)
        return out


def estimates(fisher: Any, bits: int, monkeypatch: pytest.MonkeyPatch, share: float = 1.0) -> Tensor:
    """The batch's estimate for every outcome of so many fair coins, `[2^bits, 4]`."""
    found = []
    for pattern in itertools.product((0.25, 0.75), repeat=bits):
        model, coins = Scaled(), iter(pattern)

        def toss(shape: tuple[int, ...], device: torch.device, coins: Any = coins) -> Tensor:
            return torch.tensor([next(coins) for _ in range(math.prod(shape))], dtype=torch.float64).reshape(shape)

        optimizer = KFAC(model, lr=0.0, ema=0.0, fisher=fisher, other_parameters="diagonal", curvature_batch=share)
        monkeypatch.setattr(optimizer, "uniforms", toss)
        take_step(model, optimizer, *class_batch(features=(4,), classes=CLASSES, batch=BATCH))
        found.append(optimizer.state[model.scale]["fisher"])
    return torch.stack(found)


def test_the_empirical_diagonal_is_the_mean_squared_gradient_in_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = class_batch(features=(4,), classes=CLASSES, batch=BATCH)
    model = Scaled()
    cotangent = model(inputs).detach().softmax(dim=1) - nn.functional.one_hot(targets, CLASSES)
    expected = per_sample_gradients(model, inputs, cotangent)["scale"].square().mean(dim=0)
    found = estimates("empirical", BATCH, monkeypatch)
    torch.testing.assert_close(found.mean(dim=0), expected, rtol=1e-10, atol=0)
    assert (found - expected).abs().max() > 1e-3


def test_the_exact_diagonal_is_that_of_the_model_s_own_labels_in_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, _ = class_batch(features=(4,), classes=CLASSES, batch=BATCH)
    model = Scaled()
    probabilities = model(inputs).detach().softmax(dim=1)
    expected = torch.zeros(4, dtype=torch.float64)
    for label in range(CLASSES):
        cotangent = probabilities - torch.eye(CLASSES, dtype=torch.float64)[label]
        gradients = per_sample_gradients(model, inputs, cotangent)["scale"]
        expected += (probabilities[:, label : label + 1] * gradients.square()).mean(dim=0)
    found = estimates("exact", BATCH * CLASSES, monkeypatch)
    torch.testing.assert_close(found.mean(dim=0), expected, rtol=1e-10, atol=0)


def test_part_of_the_batch_measures_its_own_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = class_batch(features=(4,), classes=CLASSES, batch=BATCH)
    model = Scaled()
    cotangent = model(inputs).detach().softmax(dim=1) - nn.functional.one_hot(targets, CLASSES)
    expected = per_sample_gradients(model, inputs, cotangent)["scale"][:2].square().mean(dim=0)
    found = estimates("empirical", 2, monkeypatch, share=0.5)  # ⌈1.5⌉ of 3
    torch.testing.assert_close(found.mean(dim=0), expected, rtol=1e-10, atol=0)
