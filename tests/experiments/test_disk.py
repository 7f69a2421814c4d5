"""What an experiment will write, against what it has written; and when it is measured at all."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from grng.experiments import disk
from grng.experiments.compare_config import CompareConfig
from grng.experiments.disk import free_bytes, needed_by_comparisons, needed_by_sweep, written_bytes
from grng.experiments.estimate import disk_bytes
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.plan import prepare as prepare_sweep
from grng.experiments.workloads.compare import prepare_workloads
from grng.optimizers import list_optimizers
from grng.runs.config import RunConfig, resolve
from grng.training.trainer import train
from tests.experiments.runners import result_of
from tests.tiers import tiered

Usage = namedtuple("Usage", ("total", "used", "free"))
SMALL: dict[str, Any] = {"model": "test_vit", "dataset": {"name": "digits", "img_size": 32}}
TRAINING = {"steps": 3, "batch_size": 16}
EACH = 1_000_000


@pytest.fixture
def disk_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it with the bytes that are free on every disk; a run then takes a megabyte, and is not measured."""

    def free(count: int) -> list[Path]:
        asked: list[Path] = []

        def usage(path: Path) -> Usage:
            asked.append(Path(path))
            return Usage(10 * count, 9 * count, count)

        monkeypatch.setattr(shutil, "disk_usage", usage)
        monkeypatch.setattr(disk, "disk_bytes", lambda config: EACH)
        return asked

    return free


@pytest.mark.parametrize("optimizer", tiered([one.name for one in list_optimizers()], ["kfac"]))
def test_the_estimate_is_what_a_run_writes(optimizer: str, tmp_path: Path) -> None:
    given = {**SMALL, "optimizer": optimizer, "training": TRAINING, "logging": {"checkpoint_every": 1}}
    config = resolve(RunConfig.model_validate(given))
    train(config, tmp_path / "x")
    expected = disk_bytes(config)
    assert expected is not None
    assert 0.7 < expected / written_bytes(tmp_path / "x") < 1.4
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_the_disk_is_that_of_the_nearest_directory_there_is(tmp_path: Path, disk_of: Any) -> None:
    asked = disk_of(77)
    assert free_bytes(tmp_path / "not" / "yet") == 77
    assert asked == [tmp_path]


def comparison(output: Path, **given: Any) -> CompareConfig:
    settings: dict[str, Any] = {"optimizers": ["sgd", "adamw"], "seeds": 3, "workers": 0, "training": TRAINING}
    settings.update({} if "workloads" in given else SMALL)
    return CompareConfig.model_validate({**settings, **given, "output": str(output)})


def test_runs_that_are_there_are_not_counted(tmp_path: Path, disk_of: Any) -> None:
    disk_of(5 * EACH)
    ready = prepare_workloads(comparison(tmp_path / "x"))
    needed = needed_by_comparisons(ready.each, ready.directory)
    assert needed is not None
    assert (needed.total, needed.free, needed.fits) == (6 * EACH, 5 * EACH, False)

    from grng.experiments.plan import plan
    from grng.runs.identity import run_id

    first, second, *_ = plan(ready.each[0].config)
    first.directory.mkdir(parents=True)
    result_of(first.config).model_copy(update={"run_id": run_id(first.config)}).save(first.directory / "result.json")
    second.directory.mkdir(parents=True)
    (second.directory / "part").write_bytes(bytes(EACH // 2))
    needed = needed_by_comparisons(ready.each, ready.directory)
    assert needed is not None
    assert needed.total == 4 * EACH + EACH // 2, "what a run has written, it need not write again"
    assert needed.fits


def test_workloads_and_tuning_are_counted(tmp_path: Path, disk_of: Any) -> None:
    disk_of(EACH)
    workloads = [{"model": "test_vit", "dataset": SMALL["dataset"]}, {"model": "test_vit", "dataset": "mnist5k"}]
    ready = prepare_workloads(comparison(tmp_path / "x", seeds=1, workloads=workloads, tune={"trials": 4}))
    needed = needed_by_comparisons(ready.each, ready.directory)
    assert needed is not None
    assert needed.total == 2 * (2 * 4 + 2) * EACH


def test_a_sweep_is_counted(tmp_path: Path, disk_of: Any) -> None:
    disk_of(EACH)
    config = {"optimizer": "adamw", "trials": 5, "tuning_seeds": 2, "workers": 0, "training": TRAINING, **SMALL}
    ready = prepare_sweep(SweepConfig.model_validate({**config, "output": str(tmp_path / "x")}))
    needed = needed_by_sweep(ready)
    assert needed is not None
    assert (needed.total, needed.fits) == (10 * EACH, False)


def test_where_there_is_ample_room_nothing_is_measured(
    tmp_path: Path, disk_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_of(10**12)

    def measured(config: RunConfig) -> int:
        raise AssertionError

    monkeypatch.setattr(disk, "disk_bytes", measured)
    ready = prepare_workloads(comparison(tmp_path / "x"))
    assert needed_by_comparisons(ready.each, ready.directory) is None
