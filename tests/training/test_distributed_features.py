"""Diagnostics, compiled models and pictures in files: two processes train as one does, with every optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grng.diagnostics.names import DIAGNOSTICS, value_names
from grng.optim.registry import REGISTRY
from grng.optimizers import differentiates_twice, hyperparameters, resolve_hyperparameters
from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from tests.data.makers import image_folder
from tests.training.helpers import checkpoint, difference, metrics, untimed
from tests.training.ranks import PATIENCE, Job, in_ranks, plain_config
from tests.training.test_distributed import assert_same_training, both

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE)]

OPTIMIZERS = [*REGISTRY, "timm:lion"]
EVERY_STEP = {"log_every": 1}
AUGMENT: dict[str, Any] = {
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "flip": 0.5,
    "random_erasing": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
}
DIAGNOSED: dict[str, Any] = {
    "diagnostics": {"names": "all", "every": 2, "samples": 32, "batch": 20, "iterations": 3},
    "augment": {"mixup": 0.2, "cutmix": 1.0, "flip": 0.5},
}


def all_losses(directory: Path) -> list[float]:
    return [line["train_loss"] for line in metrics(directory) if line["kind"] == "step"]


def diagnosed(directory: Path) -> dict[str, float]:
    return {
        f"{name}, step {line['step']}": line[f"diagnostics/{name}"]
        for line in metrics(directory)
        for name in value_names(DIAGNOSTICS)
        if f"diagnostics/{name}" in line
    }


# --- diagnostics, and compiled models


def single_backward(name: str) -> Any:
    """Return the optimizer as it goes with a compiled model, which has no double backward; None: it does not."""
    if not differentiates_twice(name, resolve_hyperparameters(name, {})):
        return name
    return {"name": name, "hvp": "finite_difference"} if "hvp" in hyperparameters(name) else None


COMPILED = [name for name in OPTIMIZERS if single_backward(name) is not None]


def compiled(name: str) -> RunConfig:
    optimizer = single_backward(name)
    return plain_config(optimizer, logging=EVERY_STEP, machine={"compile": True})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("measured")
    jobs = [
        job
        for name in OPTIMIZERS
        for job in both(name, plain_config(name, logging=EVERY_STEP, **DIAGNOSED), double=True)
    ]
    assert in_ranks(jobs, directory) == [{}, {}]
    return directory


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("traced")
    jobs = [job for name in COMPILED for job in both(name, compiled(name), double=True, traced=True)]
    assert in_ranks(jobs, directory) == [{}, {}]
    return directory


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_diagnostics_are_those_of_one_process(optimizer: str, measured: Path) -> None:
    assert_same_training(measured, optimizer, within=1e-5)
    two, one = (diagnosed(measured / number / optimizer) for number in ("two", "one"))
    assert len(two) == 2 * len(value_names(DIAGNOSTICS))
    assert two == pytest.approx(one, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("optimizer", COMPILED)
def test_compiled_models_take_the_steps_of_one_process(optimizer: str, traced: Path) -> None:
    """Nor is anything compiled within the steps: `in_ranks` would have failed."""
    assert_same_training(traced, optimizer, within=1e-5)
    two, one = (all_losses(traced / number / optimizer) for number in ("two", "one"))
    assert two == pytest.approx(one, rel=1e-5)


# --- pictures in files


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pictures")
    image_folder(directory / "train", {"red": 40, "blue": 40}, suffix=".jpg", size=(30, 40))
    image_folder(directory / "test", {"red": 8, "blue": 9}, suffix=".jpg", size=(30, 40))
    jobs: list[tuple[str, Job]] = []
    for name in OPTIMIZERS:
        jobs += both(name, of_pictures(directory, name), double=False)
    config = of_pictures(directory, "ring")
    jobs += [("stopped", Job("stopped", config, stop=2)), ("goes on", Job("stopped", config))]
    jobs += [("other workers", Job("other workers", of_pictures(directory, "ring", workers=2)))]
    first, second = in_ranks(jobs, directory)
    assert list(first) == list(second) == ["stopped"]
    return directory


def of_pictures(directory: Path, optimizer: Any, *, workers: int = 1) -> RunConfig:
    """Return seven steps, of which an epoch has four."""
    return plain_config(
        optimizer,
        dataset={"name": "folder", "data_dir": str(directory), "img_size": 32},
        training={"steps": 7},
        augment=AUGMENT,
        logging=EVERY_STEP,
        machine={"data_workers": workers},
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pictures_in_files_are_dealt_out(optimizer: str, pictures: Path) -> None:
    assert_same_training(pictures, optimizer, within=1e-3)
    two, one = (pictures / number / optimizer for number in ("two", "one"))
    assert all_losses(two) == pytest.approx(all_losses(one), rel=1e-3)
    data = RunResult.load(two / "result.json").data
    assert data == RunResult.load(one / "result.json").data
    assert data.in_memory is False


def test_pictures_go_on_bit_for_bit_within_an_epoch_and_with_other_workers(pictures: Path) -> None:
    assert RunResult.load(pictures / "stopped" / "result.json").resumed_from_step == 2
    for name in ("stopped", "other workers"):
        assert untimed(pictures / name) == untimed(pictures / "two" / "ring")
        assert difference(checkpoint(pictures / name), checkpoint(pictures / "two" / "ring")) is None
