from __future__ import annotations

from pathlib import Path

import pytest

from grng.errors import GrngError
from grng.training.calibrate import measure_step_seconds
from grng.training.trainer import train
from tests.training.helpers import run_config

pytestmark = pytest.mark.usefixtures("small_data")


def test_the_measured_step_is_near_a_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    measured = measure_step_seconds(run_config(), steps=10)
    assert list(tmp_path.iterdir()) == [], "nothing is written"
    result = train(run_config(), tmp_path / "run")
    assert result.time.step_ms is not None
    assert 0.2 < 1000 * measured / result.time.step_ms < 5


def test_a_dearer_optimizer_measures_dearer() -> None:
    cheap = measure_step_seconds(run_config("sgd"), steps=5)
    dear = measure_step_seconds(run_config("reng"), steps=5)
    assert dear > 1.5 * cheap


def test_a_run_that_diverges_is_measured_up_to_there() -> None:
    assert measure_step_seconds(run_config({"name": "sgd", "lr": 1e30}), steps=10) > 0


def test_what_cannot_be_had_is_a_message() -> None:
    with pytest.raises(GrngError, match="unknown device 'toaster'"):
        measure_step_seconds(run_config(machine={"device": "toaster"}))
