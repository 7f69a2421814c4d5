"""The trials of a sweep on the board: those of this process, of others, and of earlier calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from grng.experiments.pool.elsewhere import RunsElsewhere, RunTaken
from grng.experiments.pool.local import WorkerDied
from grng.experiments.sweeps.objectives import RunOutcome
from grng.experiments.sweeps.trials import Trial
from grng.training.events import RunEnded
from grng_cli.live.run_board import Board
from grng_cli.live.trial_rows import TrialRows
from tests.cli.test_progress import evaluated, started, step
from tests.report.factory import make_result

VALUES = {"lr": 0.01}


def sweep(total: int, seeds: list[int]) -> Any:
    config = SimpleNamespace(seeds=seeds, optimizer=SimpleNamespace(name="ring"))
    probe = SimpleNamespace(training=SimpleNamespace(steps=20))
    return SimpleNamespace(config=config, probe=probe, total=total)


def states(board: Board) -> list[str]:
    return [row.state for row in board.rows.values()]


@pytest.fixture
def board() -> Board:
    return Board(2)


def test_what_this_process_does_and_what_others_do(board: Board) -> None:
    rows = TrialRows(board, sweep(4, [7]))
    assert states(board) == ["waiting"] * 4
    running = [Trial(number, VALUES, None, ()) for number in range(2)]
    rows(running[0], 7, RunTaken())
    rows.look(running)
    assert states(board) == ["waiting", "elsewhere", "waiting", "waiting"], "the first one waits for a worker"
    for event in (started(20), step(7), evaluated(7)):
        rows(running[0], 7, event)
    mine = board.rows["", 0, 7]
    assert (mine.name, mine.step, mine.accuracy) == ("trial 0  lr=0.01", 7, 0.6)
    outcomes = (RunOutcome(7, "diverged"),)
    rows.look([running[0], Trial(1, VALUES, 0.0, outcomes), Trial(9, VALUES, 0.0, outcomes)])
    assert states(board) == ["running", "diverged", "waiting", "waiting"]
    assert board.rows["", 1, 7].reused
    rows(running[0], 7, RunEnded(make_result("ring", steps=20)))
    rows.look([Trial(0, VALUES, 0.9, (RunOutcome(7, "finished", val_accuracy=0.1),))])
    assert (mine.state, mine.accuracy, mine.reused) == ("finished", 0.96, False), "its own event has said it"


def test_a_worker_that_died_and_a_run_that_another_process_does(board: Board) -> None:
    rows = TrialRows(board, sweep(2, [7]), "ring")
    trial = Trial(0, VALUES, None, ())
    rows(trial, 7, started(20))
    rows(trial, 7, WorkerDied(1, "killed", retried=True))
    assert states(board) == ["waiting", "waiting"]
    rows(trial, 7, RunsElsewhere("process 1"))
    assert states(board) == ["elsewhere", "waiting"]
    rows(trial, 7, RunEnded(make_result("ring", status="failed", reason="crash")))
    assert states(board) == ["failed", "waiting"]


def test_every_tuning_seed_has_a_row_and_every_row_of_a_comparison_its_own(board: Board) -> None:
    for label in ("ring", "adamw"):
        TrialRows(board, sweep(2, [7, 8]), label)
    assert [row.name for row in board.rows.values()][:3] == [
        "ring: trial 0 seed 7",
        "ring: trial 0 seed 8",
        "ring: trial 1 seed 7",
    ]
    assert len(board.rows) == 8
