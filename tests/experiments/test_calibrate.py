"""A budget in seconds: what is measured, what is kept, what is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grng.errors import GrngError
from grng.experiments.calibrate import calibrate
from grng.experiments.compare import prepare
from grng.experiments.compare_config import CompareConfig
from grng.experiments.plan import rows
from grng.experiments.record import Calibration, Record
from grng.runs.config import RunConfig
from grng.runs.loading import load_config
from tests.cli.conftest import snapshot


def config(directory: Path, **given: Any) -> CompareConfig:
    values = {"optimizers": "sgd,adamw", "seeds": 1, "output": str(directory), "training.seconds": 2.0, **given}
    return load_config(CompareConfig, overrides=[(key, value, f"--{key}") for key, value in values.items()]).config


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rows that were measured: sgd takes 10 ms a step, the others 25."""
    measured: list[str] = []

    def measure_step_seconds(run: RunConfig) -> float:
        measured.append(run.optimizer.name)
        return 0.01 if run.optimizer.name == "sgd" else 0.025

    monkeypatch.setattr("grng.training.calibrate.measure_step_seconds", measure_step_seconds)
    return measured


def test_seconds_become_steps(tmp_path: Path, asked: list[str]) -> None:
    told: list[str] = []
    found = calibrate(
        rows(config(tmp_path)),
        seconds=2.0,
        directory=tmp_path / "x",
        slots=(),
        on_measured=lambda label, _: told.append(label),
    )
    assert {label: one.steps for label, one in found.items()} == {"sgd": 200, "adamw": 80}
    assert asked == told == ["sgd", "adamw"]
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_a_step_longer_than_the_budget_is_one_step(tmp_path: Path, asked: list[str]) -> None:
    found = calibrate(rows(config(tmp_path)), seconds=0.001, directory=tmp_path, slots=())
    assert {one.steps for one in found.values()} == {1}


def test_what_was_measured_for_the_same_budget_is_kept(tmp_path: Path, asked: list[str]) -> None:
    known = Calibration(seconds=2.0, step_ms=4.0, steps=500)
    record = Record(optimizers=["sgd"], seeds=[0], reference="sgd", workers=1, calibrations={"sgd": known})
    record.save(tmp_path)
    before = snapshot(tmp_path)
    found = calibrate(rows(config(tmp_path)), seconds=2.0, directory=tmp_path, slots=())
    assert (found["sgd"], found["adamw"].steps) == (known, 80)
    assert asked == ["adamw"]
    other = calibrate(rows(config(tmp_path)), seconds=3.0, directory=tmp_path, slots=())
    assert other["sgd"].steps == 300
    assert snapshot(tmp_path) == before


def test_what_cannot_be_measured_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(run: RunConfig) -> float:
        raise RuntimeError("the matrix fell apart")

    monkeypatch.setattr("grng.training.calibrate.measure_step_seconds", crash)
    with pytest.raises(GrngError) as caught:
        calibrate(rows(config(tmp_path)), seconds=2.0, directory=tmp_path / "x", slots=())
    assert caught.value.message.startswith("the step time of sgd could not be measured: ")
    assert "the matrix fell apart" in caught.value.message
    assert caught.value.hint == "Give --steps instead."
    assert not list(tmp_path.iterdir())


def test_steps_are_measured_on_the_threads_that_the_runs_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grng.experiments import compare as comparison

    seen: list[int | None] = []

    def look(configs: dict[str, RunConfig], **_: Any) -> dict[str, Calibration]:
        seen.extend(one.machine.threads for one in configs.values())
        return {label: Calibration(seconds=2.0, step_ms=1.0, steps=2) for label in configs}

    monkeypatch.setattr(comparison, "calibrate", look)
    prepared = prepare(config(tmp_path, **{"workers": 1, "machine.threads": 1}))
    planned = comparison.planned_now(prepared)
    assert seen == [1, 1]
    assert [run.config.training.steps for run in planned] == [2, 2]
