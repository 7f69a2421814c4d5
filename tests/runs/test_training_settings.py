"""What settings of training must have in common: every contradiction is a message, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from grng.errors import ConfigError
from grng.optim.registry import REGISTRY
from grng.optimizers import hyperparameters
from grng.runs.config import RunConfig, resolve


def resolved(optimizer: Any = "sgd", **sections: Any) -> RunConfig:
    return resolve(RunConfig.model_validate({"dataset": "digits", "optimizer": optimizer, **sections}))


def problem(optimizer: Any = "sgd", **sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolved(optimizer, **sections)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"training": {"batch_size": 32, "grad_accum": 5}},
            "training.grad_accum: 5 micro-batches do not divide a batch of 32. The nearest is 4.",
        ),
        (
            {"training": {"ema_warmup": True}},
            (
                "training.ema_warmup: has no effect without an average of the weights. "
                "Give its decay, training.ema (--ema)."
            ),
        ),
        (
            {"training": {"schedule": "step"}},
            "training.schedule: the schedule 'step' needs the steps between two falls. Give training.decay_every.",
        ),
        (
            {"training": {"decay_every": 3}},
            (
                "training.decay_every: has no effect with the schedule 'cosine'. "
                "Choose training.schedule: step (--schedule step), or leave it out."
            ),
        ),
        (
            {"training": {"batch_size": 33}, "augment": {"mixup": 0.2}},
            (
                "training.batch_size: images are mixed in pairs, and a batch of 33 is odd. "
                "Use an even number, such as 34."
            ),
        ),
        (
            {"augment": {"mixup_prob": 0.5}},
            "augment.mixup_prob: has no effect without augment.mixup or augment.cutmix. Give them, or leave it out.",
        ),
        (
            {"augment": {"mixup": 0.5, "mixup_switch_prob": 0.9}},
            (
                "augment.mixup_switch_prob: has no effect without both augment.mixup and augment.cutmix. "
                "Give them, or leave it out."
            ),
        ),
    ],
)
def test_settings_that_contradict_each_other(sections: dict[str, Any], message: str) -> None:
    assert problem(**sections) == message


def test_every_problem_is_told_at_once() -> None:
    found = problem({"name": "sgd", "lr": -1}, training={"grad_accum": 5, "decay_every": 2})
    assert [line.partition(":")[0] for line in found.splitlines()] == [
        "training.grad_accum",
        "training.decay_every",
        "optimizer.lr",
    ]


@pytest.mark.parametrize("name", list(REGISTRY))
def test_the_loss_sets_the_likelihood_where_there_is_one(name: str) -> None:
    for loss, likelihood in (("auto", "categorical"), ("ce", "categorical"), ("bce", "bernoulli"), ("mse", "gaussian")):
        config = resolved(name, training={"loss": loss})
        assert config.training.loss == ("ce" if loss == "auto" else loss)
        if "likelihood" in hyperparameters(name):
            assert config.optimizer.hyperparameters["likelihood"] == likelihood
        assert resolve(config) == config


def test_the_likelihood_of_another_loss_is_a_contradiction() -> None:
    assert problem({"name": "ring", "likelihood": "categorical"}, training={"loss": "bce"}) == (
        "optimizer.likelihood: the likelihood 'categorical' is not that of the loss 'bce', which is 'bernoulli'. "
        "Leave it out, or set training.loss: ce (--loss ce)."
    )
    assert problem({"name": "ring", "likelihood": "bernoulli"}).endswith(
        "Leave it out, or set training.loss: bce (--loss bce)."
    )
    assert problem({"name": "ring", "likelihood": "gaussian"}).endswith(
        "Leave it out, or set training.loss: mse (--loss mse)."
    )
    given = resolved({"name": "ring", "likelihood": "bernoulli"}, training={"loss": "bce"})
    assert given.optimizer.hyperparameters["likelihood"] == "bernoulli"


@pytest.mark.parametrize(
    ("optimizer", "hint"),
    [
        ("reng", "Choose hvp=finite_difference, or leave out machine.compile (--compile)."),
        ({"name": "gr-sgd", "rho_warmup_steps": 100}, "Choose hvp=finite_difference, or"),
        ("gr-adamw", "Choose hvp=finite_difference, or"),
        ("sophia-h", "Choose another optimizer, or"),
        ("timm:adahessian", "Choose another optimizer, or"),
    ],
)
def test_a_compiled_model_has_no_double_backward(optimizer: Any, hint: str) -> None:
    found = problem(optimizer, machine={"compile": True})
    assert "differentiates twice here, and a compiled model has no double backward." in found
    assert hint in found


@pytest.mark.parametrize(
    "optimizer",
    [
        "ring",
        "r-kalman",
        "sam",
        "timm:lion",
        {"name": "reng", "hvp": "finite_difference"},
        {"name": "reng", "rho": 0.0},
    ],
)
def test_all_others_can_be_compiled(optimizer: Any) -> None:
    assert resolved(optimizer, machine={"compile": True}).machine.compile


def test_adahessian_takes_no_loss_scale() -> None:
    assert problem("timm:adahessian", training={"precision": "fp16"}) == (
        "optimizer: timm:adahessian forms its Hessian-vector products without regard to float16's loss scale. "
        "Choose another optimizer, or training.precision: bf16 (--precision bf16)."
    )
    for name in ("sophia-h", "reng", "timm:lion"):
        assert resolved(name, training={"precision": "fp16"}).training.precision == "fp16"
