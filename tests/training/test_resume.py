"""A run that was cut off and goes on is, bit for bit, the run that was not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from grng.errors import RunDirectoryError
from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.errors import Interrupted
from grng.training.events import CheckpointSaved, Evaluated, Event, RunEnded, RunStarted, StepDone
from grng.training.trainer import train
from tests.training.helpers import SEVEN, checkpoint, difference, interrupt_when, metrics, run_config, untimed

pytestmark = pytest.mark.usefixtures("small_data")


def assert_same_run(left: Path, right: Path) -> None:
    assert untimed(left) == untimed(right)
    assert difference(checkpoint(left), checkpoint(right)) is None
    assert difference(checkpoint(left, "best"), checkpoint(right, "best")) is None
    one, other = (RunResult.load(directory / "result.json") for directory in (left, right))
    for field in ("status", "steps", "final", "best", "pairing", "parameters", "coverage"):
        assert getattr(one, field) == getattr(other, field)
    assert one.target.step == other.target.step
    assert one.memory.optimizer_state_bytes == other.memory.optimizer_state_bytes


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, small_data: None) -> Path:
    directory = tmp_path_factory.mktemp("straight") / "run"
    train(run_config(), directory)
    return directory


def stop_at(config: RunConfig, directory: Path, step: int) -> None:
    stop = interrupt_when(lambda event: isinstance(event, StepDone) and event.step == step)
    with pytest.raises(Interrupted) as caught:
        train(config, directory, listeners=[stop])
    assert caught.value.exit_code == 130
    assert caught.value.directory == directory


@pytest.mark.parametrize("step", [4, 6, 7, 10])  # an epoch's end, an evaluation, neither, the last
def test_a_stop_after_any_step(straight: Path, tmp_path: Path, step: int) -> None:
    config, directory = run_config(), tmp_path / "run"
    stop_at(config, directory, step)
    stopped = RunResult.load(directory / "result.json")
    assert (stopped.status, stopped.reason, stopped.steps) == ("interrupted", "signal", step)
    assert stopped.message == f"stopped at step {step} of 10; what is there is saved."
    events: list[Event] = []
    result = train(config, directory, listeners=[events.append])
    assert result.resumed_from_step == step
    assert isinstance(events[0], RunStarted)
    assert events[0].resumed_from_step == step
    assert [event.step for event in events if isinstance(event, StepDone)] == list(range(step + 1, 11))
    assert_same_run(directory, straight)


@pytest.mark.parametrize("optimizer", SEVEN)
def test_every_optimizer_goes_on_where_it_was(tmp_path: Path, optimizer: str) -> None:
    config = run_config(optimizer, training={"steps": 7})
    train(config, tmp_path / "straight")
    stop_at(config, tmp_path / "run", 3)
    assert train(config, tmp_path / "run").resumed_from_step == 3
    assert_same_run(tmp_path / "run", tmp_path / "straight")


def test_a_stop_after_every_single_step(straight: Path, tmp_path: Path) -> None:
    config, directory = run_config(), tmp_path / "run"
    for step in range(1, 10):
        stop_at(config, directory, step)
    result = train(config, directory)
    assert result.resumed_from_step == 9
    assert_same_run(directory, straight)
    assert result.created < RunResult.load(directory / "result.json").finished  # type: ignore[operator]


@pytest.mark.parametrize("kind", [RunStarted, Evaluated, CheckpointSaved, RunEnded])
def test_a_stop_at_any_event(straight: Path, tmp_path: Path, kind: type[Event]) -> None:
    config, directory = run_config(), tmp_path / "run"
    with pytest.raises(Interrupted):
        train(config, directory, listeners=[interrupt_when(lambda event: isinstance(event, kind))])
    train(config, directory)
    assert_same_run(directory, straight)


def test_what_was_written_after_the_last_checkpoint_is_cut_off(straight: Path, tmp_path: Path) -> None:
    """As kill -9 leaves it: checkpoint at step 4, metrics beyond."""
    config, directory = run_config(), tmp_path / "run"

    def crash(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 7:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(config, directory, listeners=[crash])
    assert metrics(directory)[-1]["step"] == 6
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    result = train(config, directory)
    assert result.resumed_from_step == 4
    assert_same_run(directory, straight)


def test_a_run_killed_before_its_first_checkpoint_starts_anew(straight: Path, tmp_path: Path) -> None:
    config, directory = run_config(), tmp_path / "run"

    def crash(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 2:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(config, directory, listeners=[crash])
    assert metrics(directory)
    assert not (directory / "checkpoint" / "last.pt").exists()
    assert train(config, directory).resumed_from_step is None
    assert_same_run(directory, straight)


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    config, directory = run_config(training={"steps": 4}), tmp_path / "run"
    stop_at(config, directory, 2)
    left = [directory / ".grng-1.tmp", directory / "checkpoint" / ".grng-2.tmp"]
    for path in left:
        path.write_bytes(b"half")
    (directory / "mine.tmp").write_text("mine")
    train(config, directory)
    assert not any(path.exists() for path in left)
    assert (directory / "mine.tmp").exists()


def test_times_of_both_processes_count(tmp_path: Path) -> None:
    config, directory = run_config(), tmp_path / "run"
    stop_at(config, directory, 5)
    before = RunResult.load(directory / "result.json").time
    after = train(config, directory).time
    assert before.train_s is not None
    assert after.train_s is not None
    assert after.step_ms is not None
    assert before.train_s < after.train_s
    assert before.total_s < after.total_s  # type: ignore[operator]
    assert after.step_ms == pytest.approx(100 * after.train_s)
    lines = metrics(directory)
    assert all(a["elapsed_s"] <= b["elapsed_s"] for a, b in pairwise(lines))


def test_logging_may_differ_when_it_goes_on(straight: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    stop_at(run_config(), directory, 5)
    result = train(run_config(logging={"log_every": 5, "tensorboard": True}), directory)
    assert result.resumed_from_step == 5
    assert difference(checkpoint(directory), checkpoint(straight)) is None


def test_a_damaged_checkpoint_is_a_message(tmp_path: Path) -> None:
    config, directory = run_config(), tmp_path / "run"
    stop_at(config, directory, 2)
    path = directory / "checkpoint" / "last.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunDirectoryError) as caught:
        train(config, directory)
    assert str(caught.value) == (
        f"{path}: the checkpoint is damaged: the file does not end as it should. "
        "Do the run again from the start with --rerun, or in another directory."
    )
    assert train(config, directory, on_existing="rerun").status == "finished"


def test_missing_metrics_are_a_message(tmp_path: Path) -> None:
    config, directory = run_config(), tmp_path / "run"
    stop_at(config, directory, 5)
    (directory / "metrics.jsonl").write_text("")
    with pytest.raises(RunDirectoryError, match=r"has 0 bytes, the checkpoint was made with \d+: lines are missing"):
        train(config, directory)


def test_a_checkpoint_loads_without_running_code(straight: Path) -> None:
    content = torch.load(straight / "checkpoint" / "last.pt", weights_only=True)
    assert content["progress"]["step"] == 10
