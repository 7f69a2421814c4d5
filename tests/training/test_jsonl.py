from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from grng.errors import RunDirectoryError
from grng.training.events import CheckpointSaved, EpochDone, Evaluated, StepDone
from grng.training.listeners.jsonl import JsonLines


def step(number: int, *, logged: bool = True, loss: float = 1.5) -> StepDone:
    return StepDone(number, 1, 10, 0.5 * number, loss, logged, {"lr": 0.1, "optimizer/x": 2.0}, {"step_ms": 9.0})


EVALUATED = Evaluated(4, 1, 2.0, 0.7, 0.8, is_best=True)


def test_the_lines_are_those_of_the_contract(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    evaluated_step = StepDone(2, 1, 10, 1.0, 1.4, True, {"lr": 0.1}, {}, Evaluated(2, 1, 1.0, 0.9, 0.6, is_best=True))
    epoch = EpochDone(4, 1, 2.0, 1.2, "abc", EVALUATED)
    for event in (step(1), step(3, logged=False), evaluated_step, EVALUATED, CheckpointSaved(4, tmp_path), epoch):
        lines(event)
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    first = {"kind": "step", "step": 1, "epoch": 1, "elapsed_s": 0.5, "train_loss": 1.5}
    second = {"kind": "step", "step": 2, "epoch": 1, "elapsed_s": 1.0, "train_loss": 1.4, "lr": 0.1}
    third = {"kind": "epoch", "step": 4, "epoch": 1, "elapsed_s": 2.0, "train_loss": 1.2, "batches_sha256": "abc"}
    assert written == [
        first | {"lr": 0.1, "optimizer/x": 2.0},
        second | {"val_loss": 0.9, "val_accuracy": 0.6},
        third | {"val_loss": 0.7, "val_accuracy": 0.8},
    ]
    lines.close()


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_become_null(tmp_path: Path, loss: float) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines(step(1, loss=loss))
    assert '"train_loss": null' in (tmp_path / "metrics.jsonl").read_text()
    lines.close()


def test_every_line_is_there_at_once(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    for number in range(1, 4):
        lines(step(number))
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == number
    lines.close()


def test_resuming_cuts_off_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = JsonLines(path)
    first(step(1))
    position = first.sync()
    first(step(2))
    first.close()
    second = JsonLines(path, position=position)
    assert second.sync() == position
    second(step(2, loss=7.0))
    second.close()
    assert [json.loads(line)["train_loss"] for line in path.read_text().splitlines()] == [1.5, 7.0]


def test_a_fresh_run_starts_the_file_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("old\n")
    lines = JsonLines(tmp_path / "metrics.jsonl")
    assert lines.sync() == 0
    lines.close()


def test_a_file_shorter_than_the_checkpoint_says(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(RunDirectoryError) as caught:
        JsonLines(tmp_path / "metrics.jsonl", position=100)
    assert caught.value.message == "has 3 bytes, the checkpoint was made with 100: lines are missing."
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"
