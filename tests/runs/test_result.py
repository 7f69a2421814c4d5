from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from grng.errors import RunDirectoryError
from grng.runs.result import Final, RunResult, Time


def result(**changes: Any) -> RunResult:
    values: dict[str, Any] = {
        "status": "finished",
        "label": "ring",
        "optimizer": "ring",
        "hyperparameters": {"rho": 0.01, "kl_clip": None},
        "model": "test_resnet",
        "dataset": "mnist5k",
        "seed": 0,
        "batch_size": 128,
        "run_id": "0" * 64,
        "created": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return RunResult(**{**values, **changes})


def test_keys_are_those_of_the_documented_schema() -> None:
    text = """
    schema_version status reason message label optimizer hyperparameters model dataset seed epochs steps planned_steps
    batch_size run_id resumed_from_step resumed_from world_size final best target time memory data parameters diagnostics coverage
    weights pairing environment created finished
    """
    stored = json.loads(result().to_json())
    assert list(stored) == text.split()
    assert list(stored["final"]) == ["train_loss", "val_loss", "val_accuracy", "test_loss", "test_accuracy"]
    assert list(stored["best"]) == ["epoch", "val_accuracy"]
    assert list(stored["target"]) == ["accuracy", "step", "time_s"]
    times = "total_s train_s step_ms step_ms_median data_ms forward_ms observe_ms backward_ms optimizer_ms shared"
    assert list(stored["time"]) == times.split()
    assert list(stored["memory"]) == ["growth_mb", "optimizer_state_bytes", "peak_mb"]
    facts = "train val test classes data_dir in_memory skipped skipped_pictures sha256"
    assert list(stored["data"]) == facts.split()
    assert list(stored["parameters"]) == ["total", "trainable", "kronecker", "diagonal", "adamw", "filter"]
    assert list(stored["pairing"]) == ["init_sha256", "batches_sha256"]
    environment = "grng code torch timm python platform device device_name threads cpu_count"
    assert list(stored["environment"]) == environment.split()
    assert stored["schema_version"] == 1


def test_saves_and_loads(tmp_path: Path) -> None:
    stored = result(coverage=[{"layer": "conv1", "rule": "kronecker", "reason": None}], time=Time(step_ms=1.5))
    stored.save(tmp_path / "result.json")
    assert RunResult.load(tmp_path / "result.json") == stored


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    diverged = result(status="diverged", reason="nan", final=Final(train_loss=float("nan"), val_loss=float("inf")))
    diverged.save(tmp_path / "result.json")
    stored = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert stored["final"]["train_loss"] is None
    assert stored["final"]["val_loss"] is None
    assert RunResult.load(tmp_path / "result.json").reason == "nan"


def test_misspelt_keys_and_statuses_are_refused() -> None:
    with pytest.raises(ValidationError):
        result(stats="x")
    with pytest.raises(ValidationError):
        result(status="done")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"schema_version": 2}',
            (
                "has schema version 2, this grng reads version 1. "
                "Read it with the grng that wrote it, or do the run again in another directory."
            ),
        ),
        (
            "{",
            (
                "is damaged or no result of grng: Invalid JSON: EOF while parsing an object at line 1 column 1. "
                "Remove the run's directory to do the run again."
            ),
        ),
        (
            '{"schema_version": 1}',
            "is damaged or no result of grng: status: Field required. Remove the run's directory to do the run again.",
        ),
    ],
)
def test_unreadable_results(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunDirectoryError) as caught:
        RunResult.load(path)
    assert str(caught.value) == f"{path}: {message}"


def test_missing_and_binary_results(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"does not exist\."):
        RunResult.load(tmp_path / "result.json")
    (tmp_path / "result.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunDirectoryError, match="is damaged"):
        RunResult.load(tmp_path / "result.json")
