from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

import grng.optimizers
from grng.diagnostics.names import DIAGNOSTICS
from grng.errors import ConfigError, HyperparameterError
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.schema import MAX_SEED, Key
from grng.runs.sections import DiagnosticsConfig, OptimizerConfig, TrainingConfig


def test_defaults_are_those_of_the_documented_schema() -> None:
    assert RunConfig().model_dump(mode="json") == {
        "label": None,
        "seed": 0,
        "model": {
            "name": "test_resnet",
            "pretrained": False,
            "weights": None,
            "weights_sha256": None,
            "weights_map": [],
            "freeze": [],
            "linear_probe": False,
            "drop_path": None,
            "lora": None,
            "kwargs": {},
        },
        "dataset": {
            "name": "mnist5k",
            "img_size": None,
            "data_dir": None,
            "download": False,
            "strict": False,
            "val_fraction": None,
            "test_fraction": None,
            "split_seed": None,
            "channels": None,
            "interpolation": None,
            "crop_pct": None,
            "crop_mode": None,
            "mean": None,
            "std": None,
            "input_key": None,
            "target_key": None,
            "in_memory": "auto",
        },
        "optimizer": {"name": "ring"},
        "training": {
            "epochs": 3,
            "steps": None,
            "batch_size": 128,
            "grad_accum": 1,
            "loss": "auto",
            "precision": "fp32",
            "clip_grad": None,
            "ema": None,
            "ema_warmup": False,
            "schedule": "cosine",
            "decay_every": None,
            "decay_rate": 0.1,
            "warmup": 0,
            "layer_decay": None,
            "no_decay": False,
            "eval_every": None,
            "target": None,
            "divergence_factor": 10.0,
            "divergence_patience": 20,
        },
        "augment": {
            "mixup": 0.0,
            "cutmix": 0.0,
            "mixup_prob": 1.0,
            "mixup_switch_prob": 0.5,
            "label_smoothing": 0.0,
            "flip": 0.0,
            "crop": None,
            "padding": 4,
            "scale": [0.08, 1.0],
            "ratio": [0.75, 4 / 3],
            "auto_augment": None,
            "color_jitter": 0.0,
            "random_erasing": 0.0,
        },
        "logging": {
            "log_every": 10,
            "checkpoint_every": None,
            "checkpoint_seconds": 30.0,
            "tensorboard": True,
            "tensorboard_points": 1000,
        },
        "diagnostics": {
            "names": [],
            "every": None,
            "samples": 1024,
            "batch": 256,
            "iterations": 20,
            "batchnorm": "batch",
        },
        "machine": {
            "device": "auto",
            "threads": None,
            "data_workers": None,
            "verify_data": True,
            "compile": False,
            "channels_last": False,
            "processes": None,
            "sync_batchnorm": "auto",
        },
        "output": None,
    }


def test_bare_strings_are_names() -> None:
    short = RunConfig.model_validate({"model": "test_vit", "dataset": "digits", "optimizer": "sgd"})
    long = RunConfig.model_validate(
        {"model": {"name": "test_vit"}, "dataset": {"name": "digits"}, "optimizer": {"name": "sgd"}}
    )
    assert short == long


def test_other_keys_of_an_optimizer_are_hyperparameters() -> None:
    config = OptimizerConfig(name="adamw", lr=0.1, betas=(0.9, 0.99), kl_clip=None)
    assert config.hyperparameters == {"lr": 0.1, "betas": [0.9, 0.99], "kl_clip": None}


def test_configs_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().seed = 1  # type: ignore[misc]


def test_steps_instead_of_epochs() -> None:
    assert TrainingConfig(steps=10).epochs is None
    assert TrainingConfig(steps=None, epochs=None).epochs == 3


@pytest.mark.parametrize(
    "values",
    [
        {"seed": -1},
        {"seed": MAX_SEED + 1},
        {"seed": True},
        {"seed": "1"},
        {"seed": 1.0},
        {"training": {"epochs": 0}},
        {"training": {"epochs": 1, "steps": 1}},
        {"training": {"batch_size": 0}},
        {"training": {"warmup": -1}},
        {"training": {"target": 0.0}},
        {"training": {"target": 1.5}},
        {"training": {"target": float("nan")}},
        {"training": {"divergence_factor": float("inf")}},
        {"training": {"divergence_factor": 1.0}},
        {"logging": {"checkpoint_seconds": 0.0}},
        {"logging": {"tensorboard": 1}},
        {"machine": {"threads": 0}},
        {"model": {"kwargs": {"x": [float("nan")]}}},
        {"model": {"name": ""}},
        {"optimizer": {"lr": float("nan")}},
        {"optimizer": {"lr": "nan"}},
        {"optimizer": {"betas": [0.9, float("-inf")]}},
        {"optimiser": "sgd"},
        {"dataset": {"size": 3}},
        {"output": 3},
        {"output": ""},
        {"output": "a\0b"},
    ],
)
def test_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RunConfig.model_validate(values)


@pytest.mark.parametrize("label", ["", "   ", "a/b", "a\\b", "a\nb", "a\x1b[31mb", "a\u202eb", "a\u200bb", "x" * 201])
def test_refuses_labels_that_harm_tables_or_paths(label: str) -> None:
    with pytest.raises(ValidationError):
        RunConfig(label=label)


@pytest.mark.parametrize("label", ["ring[rho=0.1,damping=0.01]", "ρ = 0.1", "..", "timm:muon"])
def test_takes_labels_that_people_write(label: str) -> None:
    assert RunConfig(label=label).label == label


def test_replace_checks_and_keeps_the_rest() -> None:
    config = RunConfig.model_validate({"optimizer": {"name": "ring", "rho": 0.5}, "seed": 3})
    changed = replace(config, seed=4)
    assert (changed.seed, changed.optimizer) == (4, config.optimizer)
    assert replace(config.optimizer, lr=1.0).hyperparameters == {"rho": 0.5, "lr": 1.0}
    with pytest.raises(ValidationError):
        replace(config, seed=-1)


# resolve


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve_hyperparameters(name: str, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("rho", 0) < 0:
            raise HyperparameterError("must be at least 0.", where="rho", hint="Its default is 0.01.")
        return {"lr": 0.003, "betas": (0.9, 0.99), **given}

    monkeypatch.setattr(grng.optimizers, "resolve_hyperparameters", resolve_hyperparameters)


@pytest.mark.usefixtures("_registry")
def test_resolve_fills_in_what_is_known_elsewhere() -> None:
    resolved = resolve(RunConfig.model_validate({"dataset": "digits", "optimizer": {"name": "ring", "rho": 0.2}}))
    assert resolved.label == "ring"
    assert resolved.dataset.img_size == 32
    assert resolved.training.target == 0.9
    assert resolved.optimizer.hyperparameters == {"lr": 0.003, "betas": [0.9, 0.99], "rho": 0.2}


def test_resolve_keeps_what_is_given() -> None:
    given = RunConfig.model_validate(
        {
            "label": "mine",
            "dataset": {"name": "mnist5k", "img_size": 64},
            "training": {"target": 0.5, "steps": 7},
            "optimizer": {"name": "sgd", "lr": 0.25},
        }
    )
    resolved = resolve(given)
    assert (resolved.label, resolved.dataset.img_size, resolved.training.target) == ("mine", 64, 0.5)
    assert (resolved.training.steps, resolved.training.epochs) == (7, None)
    assert resolved.optimizer.hyperparameters["lr"] == 0.25


@pytest.mark.parametrize("name", [info.name for info in grng.optimizers.list_optimizers()])
def test_resolving_twice_changes_nothing(name: str) -> None:
    once = resolve(RunConfig(optimizer=OptimizerConfig(name=name)))
    assert resolve(once) == once
    assert set(once.optimizer.hyperparameters) == set(grng.optimizers.hyperparameters(name))


@pytest.mark.usefixtures("_registry")
def test_resolve_tells_every_problem_at_its_place() -> None:
    config = RunConfig.model_validate({"model": "test_resnt", "dataset": "mnst5k", "optimizer": "rng"})

    def locate(key: Key) -> str:
        return "run.yaml:7 (" + ".".join(map(str, key)) + ")"

    with pytest.raises(ConfigError) as caught:
        resolve(config, locate=locate)
    places = [problem.where for problem in caught.value.problems]
    assert places == ["run.yaml:7 (model.name)", "run.yaml:7 (dataset.name)", "run.yaml:7 (optimizer.name)"]
    assert str(caught.value.problems[1]) == (
        "run.yaml:7 (dataset.name): there is no data set 'mnst5k'. Did you mean 'mnist5k'?"
    )


@pytest.mark.usefixtures("_registry")
def test_resolve_tells_bad_hyperparameters_and_sizes_by_their_keys() -> None:
    values = {"optimizer": {"name": "ring", "rho": -1}, "dataset": {"name": "digits", "img_size": 2}}
    with pytest.raises(ConfigError) as caught:
        resolve(RunConfig.model_validate(values))
    assert str(caught.value) == (
        "dataset.img_size: the image size of digits must be from 4 to 512 pixels, not 2. Its default is 32.\n"
        "optimizer.rho: must be at least 0. Its default is 0.01."
    )
    assert [type(problem) for problem in caught.value.problems][1] is HyperparameterError


def test_resolve_refuses_reserved_model_arguments() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(RunConfig.model_validate({"model": {"name": "test_vit", "kwargs": {"img_size": 32}}}))
    assert str(caught.value) == ("model.kwargs: cannot set 'img_size'. Set dataset.img_size (--img-size) instead.")


def test_schema_errors_load_no_torch() -> None:
    code = (
        "import sys\n"
        "from grng.errors import ConfigError\n"
        "from grng.runs.config import RunConfig\n"
        "from grng.runs.loading import load_config\n"
        "try:\n"
        "    load_config(RunConfig, sets=['training.epochs=0'])\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
        "print([name for name in ('torch', 'timm', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["--set training.epochs: must be at least 1, not 0.", "[]"]


@pytest.mark.parametrize("name", ["reng", "gr-sgd", "gr-adamw"])
def test_gradient_regularisation_waits_for_the_warm_up_unless_told_otherwise(name: str) -> None:
    values: dict[str, Any] = {"optimizer": name, "training": {"warmup": 7}}
    resolved = resolve(RunConfig.model_validate(values))
    assert resolved.optimizer.hyperparameters["rho_warmup_steps"] == 7
    assert resolve(resolved) == resolved
    given = resolve(RunConfig.model_validate({**values, "optimizer": {"name": name, "rho_warmup_steps": 0}}))
    assert given.optimizer.hyperparameters["rho_warmup_steps"] == 0
    assert resolve(RunConfig.model_validate({"optimizer": name})).optimizer.hyperparameters["rho_warmup_steps"] == 0


def test_diagnostics_are_named_in_a_list_in_text_or_all_at_once() -> None:
    given = ["grad_norm", "step_cosine"]
    assert DiagnosticsConfig.model_validate({"names": "grad_norm, step_cosine", "every": 1}).names == given
    assert DiagnosticsConfig.model_validate({"names": given, "every": 1}).names == given
    assert DiagnosticsConfig.model_validate({"names": "all", "every": 1}).names == list(DIAGNOSTICS)


@pytest.mark.parametrize(
    "section", [{"names": "grad_norm"}, {"every": 3}, {"names": "", "every": 3}, {"names": "x", "every": 3}]
)
def test_diagnostics_need_what_and_how_often(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DiagnosticsConfig.model_validate(section)
