"""Which hyperparameters a sweep varies, and what it may not vary."""

from __future__ import annotations

from typing import Any

import pytest

from grng.errors import ConfigError
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.space_grammar import Real
from grng.experiments.sweeps.spaces import check_together, declared_spaces, run_config, space_of
from grng.optimizers import list_optimizers


def config(optimizer: Any = "ring", **given: Any) -> SweepConfig:
    return SweepConfig.model_validate({"optimizer": optimizer, "dataset": "digits", "model": "test_vit", **given})


def refused(given: SweepConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        check_together(given, space_of(given))
    return str(caught.value)


def test_every_optimizer_of_the_registry_has_a_declared_space() -> None:
    assert declared_spaces() == sorted(info.name for info in list_optimizers())


@pytest.mark.parametrize("name", [info.name for info in list_optimizers()])
def test_declared_spaces_hold_nothing_that_the_optimizer_refuses(name: str) -> None:
    given = config(name)
    space = space_of(given)
    assert "lr" in space
    probe = check_together(given, space)
    assert probe.optimizer.name == name
    assert isinstance(space["lr"], Real)
    assert space["lr"].low < probe.optimizer.hyperparameters["lr"] < space["lr"].high


def test_a_sweep_changes_the_declared_space_name_by_name() -> None:
    space = space_of(config(space={"lr": "log(1e-3, 1)", "weight_decay": None, "training": {"warmup": "int(0, 5)"}}))
    assert {name: str(one) for name, one in space.items()} == {
        "lr": "log(0.001, 1)",
        "rho": "log(0.001, 1)",
        "training.warmup": "int(0, 5)",
    }
    assert space_of(config(space={"training.warmup": "int(0, 5)"}))["training.warmup"] == space["training.warmup"]


def test_what_is_given_is_not_searched() -> None:
    assert list(space_of(config({"name": "ring", "rho": 0.1}))) == ["lr", "weight_decay"]
    given = config({"name": "ring", "rho": 0.1}, space={"rho": "log(1, 2)"})
    assert "rho is both given (0.1) and searched." in refused(given)


def test_a_run_of_a_trial_has_its_values_and_fills_in_what_follows_from_them() -> None:
    given = config("reng", space={"training.warmup": "int(3, 9)"})
    run = run_config(given, {"lr": 0.5, "training.warmup": 7}, seed=4)
    assert (run.optimizer.hyperparameters["lr"], run.training.warmup, run.seed) == (0.5, 7, 4)
    assert run.optimizer.hyperparameters["rho_warmup_steps"] == 7
    assert run.label == "reng"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"space": {"rhoo": "log(1, 2)"}}, "space.rhoo: ring has no hyperparameter 'rhoo'. Did you mean 'rho'"),
        ({"space": {"rhoo": None}}, "ring has no hyperparameter 'rhoo'."),
        ({"space": {"warmup": "int(0, 5)"}}, "ring has no hyperparameter 'warmup'. Did you mean 'training.warmup'?"),
        ({"space": {"momentum": "uniform(0.5, 1.5)"}}, "momentum must be a number, at least 0 and below 1; got 1.5."),
        ({"space": {"inverse_interval": "uniform(1, 9)"}}, "inverse_interval must be a whole number"),
        ({"space": {"step_norm": "choice(rsm, none)"}}, "Did you mean 'rms'?"),
        ({"space": {"training.warmup": "uniform(0, 9)"}}, "space.training.warmup: must be a whole number, not 3.339."),
        ({"space": {"training.warmpu": "int(0, 9)"}}, "Did you mean 'training.warmup' or"),
        ({"space": {"training.epochs": "int(1, 9)"}}, "all trials of a sweep have the same."),
        ({"space": {"machine.threads": "int(1, 9)"}}, "machine.threads cannot be searched."),
        ({"space": {"lr": None, "rho": None, "weight_decay": None}}, "nothing is left to search of ring"),
        ({"optimizer": "timm:lion"}, "--space: timm:lion has no declared search space. Say what to search: --space "),
        ({"optimizer": "rign"}, "Did you mean 'ring'"),
        (
            {"space": {"eigenvalue_correction": "choice(false, true)"}},
            "eigenvalue_correction=true",
        ),
    ],
)
def test_what_cannot_be_searched(given: dict[str, Any], said: str) -> None:
    assert said in refused(config(**{"optimizer": "ring", **given}))


def test_an_optimizer_without_a_declared_space_takes_the_given_one() -> None:
    given = config("timm:lion", space={"lr": "log(1e-4, 1e-2)"})
    assert check_together(given, space_of(given)).optimizer.name == "timm:lion"
