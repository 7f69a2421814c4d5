"""A clock that is set back or forward while a run is at work, or between two processes of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from grng.runs.config import RunConfig
from grng.training import outcome
from grng.training.errors import Interrupted
from grng.training.events import Event, StepDone
from grng.training.trainer import train
from tests.training.helpers import at_step, interrupt_when, run_config, untimed
from tests.training.test_tensorboard import assert_equals_metrics, board, scalars

pytestmark = pytest.mark.usefixtures("small_data")

DAY = 86_400.0


def config_of() -> RunConfig:
    return run_config(training={"steps": 8}, logging={"tensorboard": True, "log_every": 1})


class Clock:
    """The time of day, which can be set; the clocks that measure durations are left alone."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.offset = 0.0
        real = time.time
        patch.setattr(time, "time", lambda: real() + self.offset)
        clock = self

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + timedelta(seconds=clock.offset)

        patch.setattr(outcome, "datetime", Shifted)


@pytest.mark.parametrize("jump", [-400 * DAY, pytest.param(400 * DAY, marks=pytest.mark.slow)])
def test_durations_and_order_do_not_depend_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    train(config_of(), tmp_path / "straight")
    clock, directory = Clock(monkeypatch), tmp_path / "run"

    def set_it(event: Event) -> None:
        if isinstance(event, StepDone) and event.step in (2, 5):
            clock.offset += jump

    begun = time.monotonic()
    with pytest.raises(Interrupted):
        train(config_of(), directory, listeners=[set_it, interrupt_when(at_step(3))])
    result = train(config_of(), directory, listeners=[set_it])
    took = time.monotonic() - begun
    assert result.time.train_s is not None
    assert result.time.total_s is not None
    assert 0 < result.time.train_s <= result.time.total_s <= took
    assert result.finished is not None
    assert result.created <= result.finished
    assert abs(result.created - datetime.now(UTC)) < timedelta(minutes=10), "when it was begun, before the jump"
    assert untimed(directory) == untimed(tmp_path / "straight")
    reader = board(directory)
    assert_equals_metrics(reader, directory)
    assert [step for step, _ in scalars(reader, "train/loss")] == list(range(1, 9))
    files = sorted(directory.glob("events.*"))
    assert len(files) == 2
    assert files[0].stat().st_mtime_ns < files[1].stat().st_mtime_ns, "readers take them in the order of their names"


def test_times_of_points_go_on_evenly_within_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, directory = Clock(monkeypatch), tmp_path / "run"

    def set_it(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            clock.offset -= DAY

    train(config_of(), directory, listeners=[set_it])
    times = [event.wall_time for event in board(directory).Scalars("train/loss")]
    assert times == sorted(times)
    assert times[-1] - times[0] < 3600
