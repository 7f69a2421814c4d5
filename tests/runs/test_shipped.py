from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import grng
from grng.errors import UnknownNameError
from grng.optimizers import list_optimizers, resolve_hyperparameters
from grng.runs.config import RunConfig, resolve
from grng.runs.loading import load_config
from grng.runs.shipped import configs_folder, find_config, list_configs

TRAINING = [name for name in list_configs() if name.startswith("train/")]


def test_every_main_optimizer_has_a_config() -> None:
    names = {"sgd", "adamw", "kfac", "sophia-g", "sophia-h", "ring", "reng", "r-kalman", "gr-sgd", "gr-adamw", "sam"}
    assert names <= {name.removeprefix("train/") for name in TRAINING}
    assert names <= {info.name for info in list_optimizers()}


@pytest.mark.parametrize("name", [*TRAINING, "smoke"])
def test_every_config_can_be_run_as_it_is(name: str) -> None:
    loaded = load_config(RunConfig, files=[find_config(name)])
    assert resolve(loaded.config, locate=loaded.locate).training.batch_size == 128


@pytest.mark.parametrize("name", TRAINING)
def test_training_configs_show_the_defaults(name: str) -> None:
    optimizer = load_config(RunConfig, files=[find_config(name)]).config.optimizer
    assert optimizer.name == name.removeprefix("train/")
    defaults = resolve_hyperparameters(optimizer.name, {})
    assert resolve_hyperparameters(optimizer.name, optimizer.hyperparameters) == defaults


def test_a_file_comes_before_a_shipped_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("smoke") == find_config("smoke.yaml") == configs_folder() / "smoke.yaml"
    Path("smoke").write_text("seed: 1\n", encoding="utf-8")
    assert find_config("smoke") == Path("smoke")


def test_unknown_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError) as caught:
        find_config("smok.yaml")
    assert str(caught.value) == "smok.yaml: there is no such file or shipped config. Did you mean 'smoke'?"
    with pytest.raises(UnknownNameError, match="Did you mean 'train/adamw'"):
        find_config("adamw")
    with pytest.raises(UnknownNameError, match="it is a directory, not a config file"):
        find_config(".")


def test_configs_inside_an_installed_package_are_found(tmp_path: Path) -> None:
    # As a wheel lays them out: grng/_configs, and beside the package a `configs` of somebody else.
    site = tmp_path / "site"
    shutil.copytree(Path(grng.__file__).parent, site / "grng", ignore=shutil.ignore_patterns("__pycache__", "files"))
    shutil.copytree(configs_folder(), site / "grng" / "_configs", dirs_exist_ok=True)
    (site / "configs").mkdir()
    (site / "configs" / "alien.yaml").touch()
    code = "from grng.runs.shipped import *; print(find_config('train/ring')); print('alien' in list_configs())"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert done.stdout.splitlines() == [str(site / "grng" / "_configs" / "train" / "ring.yaml"), "False"]
