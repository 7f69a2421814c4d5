from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from grng.curvature.likelihood import LIKELIHOODS
from grng.optim.registry import REGISTRY
from grng.optimizers import create_optimizer, hyperparameters
from grng.runs.training_settings import LIKELIHOODS as LIKELIHOOD_OF
from grng.training.clock import StepClock
from grng.training.evaluate import evaluate
from grng.training.loss import Loss, LossName, correct
from grng.training.step import StepRules, train_step
from tests.oracles.nets import SmallCNN, class_batch, flat
from tests.tiers import tiered

NAMES: list[LossName] = ["ce", "bce", "mse"]


@pytest.fixture
def outputs() -> Tensor:
    return torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 3, 1, 1, 2, 0, 3])


@pytest.fixture
def soft() -> Tensor:
    return torch.rand(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(dim=1)


def test_cross_entropy_is_minus_the_label_s_log_probability(outputs: Tensor, labels: Tensor) -> None:
    probabilities = outputs.exp() / outputs.exp().sum(dim=1, keepdim=True)
    expected = -probabilities[torch.arange(7), labels].log()
    torch.testing.assert_close(Loss()(outputs, labels), expected.mean())
    torch.testing.assert_close(Loss().total(outputs, labels), expected.sum())


def test_binary_cross_entropy_is_summed_over_classes(outputs: Tensor, labels: Tensor) -> None:
    loss = Loss("bce")
    on = 1 / (1 + (-outputs).exp())
    truth = torch.zeros(7, 4, dtype=torch.float64)
    truth[torch.arange(7), labels] = 1
    expected = -(truth * on.log() + (1 - truth) * (1 - on).log()).sum(dim=1)
    targets = loss.targets(labels, 4)
    torch.testing.assert_close(loss(outputs, targets), expected.mean())
    torch.testing.assert_close(loss.total(outputs, targets), expected.sum())
    theirs = BinaryCrossEntropy(smoothing=0.0, sum_classes=True)(outputs, labels)
    torch.testing.assert_close(loss(outputs, targets), theirs)


def test_the_squared_error_is_halved_and_summed_over_classes(outputs: Tensor, labels: Tensor) -> None:
    loss = Loss("mse")
    by_hand = [
        sum((z - (1.0 if place == label else 0.0)) ** 2 for place, z in enumerate(row)) / 2
        for row, label in zip(outputs.tolist(), labels.tolist(), strict=True)
    ]
    targets = loss.targets(labels, 4)
    assert float(loss(outputs, targets)) == pytest.approx(sum(by_hand) / 7)
    assert float(loss.total(outputs, targets)) == pytest.approx(sum(by_hand))


def test_probabilities_as_targets(outputs: Tensor, soft: Tensor) -> None:
    timms: Any = SoftTargetCrossEntropy  # has no types
    torch.testing.assert_close(Loss()(outputs, soft), timms()(outputs, soft))
    torch.testing.assert_close(Loss()(outputs, soft), torch.nn.functional.cross_entropy(outputs, soft))
    assert Loss("bce").targets(soft, 4) is soft


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_mean_of_its_likelihood_s(
    name: LossName, outputs: Tensor, labels: Tensor, soft: Tensor
) -> None:
    likelihood = LIKELIHOODS[LIKELIHOOD_OF[name]]
    loss = Loss(name)
    for targets in (loss.targets(labels, 4), soft):
        outputs.grad = None
        value = loss(outputs.requires_grad_(), targets)
        (gradient,) = torch.autograd.grad(value, outputs)
        torch.testing.assert_close(value, likelihood.losses(outputs, targets).mean())
        torch.testing.assert_close(gradient, likelihood.output_gradient(outputs, targets) / 7)


def test_half_precision_outputs_are_measured_in_float32(outputs: Tensor, labels: Tensor) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        half = outputs.to(dtype)
        for loss in map(Loss, NAMES):
            found = loss(half, loss.targets(labels, 4))
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, loss(half.float(), loss.targets(labels, 4)))


def test_accuracy_with_probabilities_is_against_the_most_probable_class() -> None:
    outputs = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    assert correct(outputs, torch.tensor([1, 1, 1])).tolist() == [True, False, True]
    assert correct(outputs, torch.tensor([[0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])).tolist() == [True, False, True]


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_has_the_training_s_loss(name: LossName) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
    images, labels = torch.randn(7, 1, 3, 3), torch.tensor([0, 3, 1, 1, 2, 0, 3])
    loss = Loss(name)
    with torch.no_grad():
        expected = float(loss(model(images), loss.targets(labels, 4)))
    found = evaluate(model, images, labels, batch_size=3, device=torch.device("cpu"), loss=loss)
    assert found.loss == pytest.approx(expected, abs=1e-6)


# with every optimizer

CNN: dict[str, Any] = {"features": (2, 9, 8), "classes": 3, "batch": 12}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in [*REGISTRY, "timm:lion", "timm:adahessian"]},
    "reng, finite difference": ("reng", {"hvp": "finite_difference"}),
    "kfac, empirical": ("kfac", {"fisher": "empirical"}),
    "ring, exact labels": ("ring", {"fisher": "exact"}),
    "r-kalman, loss": ("r-kalman", {"observation": "loss"}),
    "r-kalman, global": ("r-kalman", {"filter_scope": "global"}),
    "r-kalman, outputs": ("r-kalman", {"observation": "outputs"}),
}


def _as_given(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


def weights_after(variant: str, loss: Loss, *, probabilities: bool, steps: int = 5) -> Tensor:
    name, options = OPTIMIZERS[variant]
    model = SmallCNN()
    known = hyperparameters(name)
    likelihood = {"likelihood": LIKELIHOOD_OF[loss.name]} if "likelihood" in known else {}
    optimizer: Any = create_optimizer(name, model, seed=2, **options, **likelihood)
    for seed in range(steps):
        images, labels = class_batch(seed=seed, **CNN)
        if probabilities:
            labels = torch.eye(3, dtype=torch.float32)[labels]
        batch = images, loss.targets(labels, 3)
        rules = StepRules(loss=loss)
        train_step(model, optimizer, partial(_as_given, batch), StepClock(torch.device("cpu")), rules=rules)
    return flat(list(model.parameters()))


EVERY: list[tuple[LossName, str]] = [(name, variant) for name in NAMES for variant in OPTIMIZERS]


@pytest.mark.parametrize(
    ("name", "variant"),
    tiered(EVERY, [case for case in EVERY if case[0] != "mse" or case[1] in REGISTRY], several=True),
)
def test_probabilities_of_one_class_give_the_steps_of_its_label(name: LossName, variant: str) -> None:
    hard, soft = (weights_after(variant, Loss(name), probabilities=given) for given in (False, True))
    assert bool(hard.isfinite().all())
    assert not torch.equal(hard, flat(list(SmallCNN().parameters())))
    torch.testing.assert_close(soft, hard, rtol=1e-7, atol=1e-9)
