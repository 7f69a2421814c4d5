"""A step in micro-batches is the step on the whole batch, for every optimizer."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grng.optim.registry import REGISTRY
from grng.optimizers import create_optimizer, hyperparameters
from grng.training.clock import StepClock
from grng.training.loss import Loss
from grng.training.step import StepRules, train_step
from tests.oracles.nets import SmallCNN, class_batch, flat
from tests.training.test_step import Net, Recording

CNN: dict[str, Any] = {"features": (2, 9, 8), "classes": 3, "batch": 12}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in [*REGISTRY, "timm:lion", "timm:adahessian"]},
    "reng, finite difference": ("reng", {"hvp": "finite_difference"}),
    "gr-sgd, finite difference": ("gr-sgd", {"hvp": "finite_difference"}),
    "gr-adamw, every third step": ("gr-adamw", {"regularize_every": 3}),
    "kfac, diagonal": ("kfac", {"other_parameters": "diagonal"}),
    "r-kalman, loss": ("r-kalman", {"observation": "loss"}),
    "r-kalman, global": ("r-kalman", {"filter_scope": "global", "rows": 4}),
    "r-kalman, outputs": ("r-kalman", {"observation": "outputs"}),
    "sophia-h, every step": ("sophia-h", {"hessian_interval": 1}),
}


def clock() -> StepClock:
    return StepClock(torch.device("cpu"))


def _as_given(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


def make(variant: str, model: nn.Module) -> Any:
    name, options = VARIANTS[variant]
    # a share of every micro-batch would be other samples than that share of the whole batch
    whole: dict[str, Any] = (
        {"curvature_batch": 1.0} if hyperparameters(name).get("curvature_batch") and name != "r-kalman" else {}
    )
    if variant == "r-kalman":
        whole = {"curvature_batch": 1.0, "rows": 4}
    return create_optimizer(name, model, seed=1, **whole, **options)


def weights_after(variant: str, rules: StepRules, steps: int = 5) -> Tensor:
    model = SmallCNN()
    optimizer = make(variant, model)
    for seed in range(steps):
        images, labels = class_batch(seed=seed, **CNN)
        batch = images, rules.loss.targets(labels, 3)
        train_step(model, optimizer, partial(_as_given, batch), clock(), rules=rules)
    return flat(list(model.parameters()))


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("parts", [2, 4])
def test_micro_batches_take_the_step_of_the_whole_batch(variant: str, parts: int) -> None:
    expected = weights_after(variant, StepRules())
    found = weights_after(variant, StepRules(micro_batches=parts))
    assert not torch.equal(expected, flat(list(SmallCNN().parameters())))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_the_step_s_loss_and_accuracy_are_those_of_the_whole_batch() -> None:
    outcomes = []
    for parts in (1, 3):
        model = SmallCNN()
        rules = StepRules(micro_batches=parts)
        batch = partial(class_batch, **CNN)
        outcomes.append(train_step(model, make("sgd", model), batch, clock(), rules=rules, collect=True))
    assert outcomes[0].loss == pytest.approx(outcomes[1].loss, abs=1e-12)
    assert outcomes[0].accuracy == pytest.approx(outcomes[1].accuracy)


class Accumulating(Recording):
    """Observes every micro-batch, gradients of the ones before in place."""

    def observe(self, outputs: Tensor, targets: Tensor) -> None:
        self.calls.append("observe")


def test_the_closure_repeats_every_micro_batch_with_its_own_dropout_mask() -> None:
    torch.manual_seed(0)
    model = Net().train()
    optimizer = Accumulating(model, needs_closure=True)
    generator = torch.Generator().manual_seed(1)
    batch = torch.randn(16, 5, generator=generator), torch.randint(0, 3, (16,), generator=generator)
    gradients: list[Tensor] = []
    buffers: list[Tensor] = []

    def look(*_: Any) -> None:
        if not gradients:
            gradients.extend(p.grad.clone() for p in model.parameters() if p.grad is not None)
            buffers.extend(buffer.clone() for buffer in model.buffers())

    optimizer.register_step_pre_hook(look)
    outcome = train_step(model, optimizer, lambda: batch, clock(), rules=StepRules(micro_batches=4))
    after = torch.rand(3)
    assert optimizer.calls == ["observe"] * 4 + ["step(closure)"]
    assert optimizer.recomputed[0].item() == pytest.approx(outcome.loss, abs=1e-6)
    for repeated, gradient in zip(optimizer.recomputed[1:], gradients, strict=True):
        torch.testing.assert_close(repeated, gradient)
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    torch.manual_seed(0)
    Net()
    for _ in range(4):
        torch.nn.functional.dropout(torch.ones(4, 8), 0.5)
    assert torch.equal(torch.rand(3), after), "the closure draws nothing"


def test_a_loss_that_is_no_number_in_one_micro_batch_changes_no_weight() -> None:
    model = SmallCNN()
    before = flat(list(model.parameters())).clone()
    images, labels = class_batch(**CNN)
    images[-1] = math.nan
    outcome = train_step(
        model, make("ring", model), lambda: (images, labels), clock(), rules=StepRules(micro_batches=4), collect=True
    )
    assert math.isnan(outcome.loss)
    assert torch.equal(flat(list(model.parameters())), before)
    assert all(p.grad is None for p in model.parameters())


def test_micro_batches_of_a_binary_loss_add_up_too() -> None:
    rules = StepRules(loss=Loss("bce"))
    expected = weights_after("sgd", rules)
    torch.testing.assert_close(weights_after("sgd", StepRules(loss=Loss("bce"), micro_batches=4)), expected)
