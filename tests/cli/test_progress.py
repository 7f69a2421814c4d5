"""The moving displays, on a terminal that is played here."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grng.experiments.plan import PlannedRun
from grng.experiments.pool.elsewhere import RunTaken
from grng.experiments.sweeps.objectives import RunOutcome
from grng.experiments.sweeps.trials import Trial
from grng.runs.config import RunConfig
from grng.training.events import EpochDone, Evaluated, RunEnded, RunStarted, StepDone
from grng_cli.live import compare_progress, sweep_progress
from grng_cli.live.compare_progress import CompareProgress
from grng_cli.live.sweep_progress import BestSoFar, SweepProgress
from grng_cli.live.train_progress import TrainProgress
from grng_cli.output import Output
from tests.report.factory import make_result

LABEL = "ring[rho=0.1,damping=0.01,kl_clip=0.001,momentum=0.9,curvature_interval=10]"


class Terminal(io.StringIO):
    """A terminal of `width` columns that keeps what is on it, and the longest line there ever was."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def isatty(self) -> bool:
        return True

    def frames(self) -> list[list[str]]:
        """Return the lines on it before each time that the display was drawn anew, and at the end."""
        rows: list[str] = [""]
        row = column = 0
        frames: list[list[str]] = []
        for code, letter, character in re.findall(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b])", self.getvalue()):
            if character == "\r":  # what comes next erases the display, its last line first
                frames.append(list(rows))
                column = 0
            elif character == "\n":
                row, column = row + 1, 0
            elif character:
                assert column < self.width, f"{rows[row]!r} does not fit"
                rows[row] = rows[row].ljust(column)[:column] + character + rows[row][column + 1 :]
                column += 1
            elif letter == "A":
                row -= int(code or 1)
            elif letter == "K":
                rows[row] = ""
            rows += [""] * (row + 1 - len(rows))
        return [*frames, rows]


@pytest.fixture
def at_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def planned(label: str, seed: int) -> PlannedRun:
    return PlannedRun(label, seed, RunConfig(), Path("x", label))


def started(steps: int, resumed_from: int | None = None) -> RunStarted:
    fields: Any = {
        "config": RunConfig(),
        "directory": Path("x"),
        "planned_steps": steps,
        "steps_per_epoch": 10,
        "resumed_from_step": resumed_from,
        "device": "cpu",
        "parameters": {},
        "coverage": None,
        "coverage_summary": None,
    }
    return RunStarted(**fields)


def step(number: int) -> Any:
    return StepDone(
        step=number,
        epoch=1,
        planned_steps=20,
        elapsed_s=1.0,
        train_loss=2.3,
        logged=True,
        metrics={"train_accuracy": 0.5},
        timing={},
        evaluation=None,
    )


def evaluated(number: int) -> Evaluated:
    return Evaluated(step=number, epoch=1, elapsed_s=1.0, val_loss=1.0, val_accuracy=0.6, is_best=True)


@pytest.mark.usefixtures("at_80")
def test_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal(80))
    runs = [planned("sgd", 0), planned(LABEL, 0)]
    with CompareProgress(Output()) as progress:
        progress.planned(runs)
        for run in runs:
            progress(run, started(20, resumed_from=4))
            progress(run, step(7))
            progress(run, evaluated(7))
        progress._table.refresh()
        for run in runs:
            progress(run, RunEnded(make_result(run.label, steps=20, epochs=None)))
        assert (progress.ended, progress.total) == (2, 2)
    frames = terminal.frames()
    busiest = next(frame for frame in frames if sum("7/20" in line for line in frame) == 2)
    rows = [line for line in busiest if "7/20" in line]
    assert [line[:6] for line in rows] == ["sgd se", "ring[r"], "brackets are no markup"
    assert "… seed 0" in rows[1]
    assert all("running" in line and "0.600" in line for line in rows)
    assert len({line.index("━") for line in rows}) == 1, "the columns stand below each other"
    left = [line.rstrip() for line in frames[-1] if line.strip()]
    assert not [line for line in left if "━" in line], "no table is left behind"
    ended = " ".join(" ".join(left).split())
    assert "[1/2] sgd seed 0: test accuracy 0.950" in ended
    assert "[2/2] ring[rho=0.1" in ended


@pytest.mark.parametrize(
    ("environment", "given"), [({"NO_COLOR": "1"}, {}), ({"TERM": "dumb"}, {}), ({}, {"json_only": True})]
)
@pytest.mark.usefixtures("at_80")
def test_where_nothing_is_to_move_there_are_lines_alone(
    environment: dict[str, str], given: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal(80))
    run = planned("sgd", 0)
    with CompareProgress(Output(**given)) as progress:
        progress.planned([run])
        progress(run, started(20))
        progress(run, RunEnded(make_result("sgd", steps=20, epochs=None)))
    assert (
        " ".join(terminal.getvalue().split()) == "[1/1] sgd seed 0: test accuracy 0.950, loss 0.15, 20 steps in 8.1 s"
    )


@pytest.mark.usefixtures("at_80")
def test_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal(80))
    with TrainProgress(Output()) as progress:
        progress(started(20))
        progress(step(7))
        progress._bar.refresh()
        shown = terminal.frames()[-1][-1]
        done = EpochDone(
            step=10, epoch=1, elapsed_s=1.0, train_loss=2.0, batches_sha256="0" * 64, evaluation=evaluated(10)
        )
        progress(done)
    for text in ("epoch 1/2", "step 7/20", "loss 2.3", "accuracy 0.500", "steps/s", "left"):
        assert text in shown
    left = [line.rstrip() for line in terminal.frames()[-1] if line.strip()]
    assert left == ["epoch 1/2: step 10, train loss 2, val. loss 1, val. accuracy 0.600"]


def test_piped_there_are_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    run = planned("sgd", 0)
    with CompareProgress(Output()) as progress:
        progress.planned([run])
        progress(run, started(20))
        progress(run, step(7))
        progress(run, RunEnded(make_result("sgd", steps=20, epochs=None)))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "[1/1] sgd seed 0: test accuracy 0.950, loss 0.15, 20 steps in 8.1 s\n"


def test_interrupted_runs_have_not_ended(capsys: pytest.CaptureFixture[str]) -> None:
    run = planned("sgd", 0)
    with CompareProgress(Output()) as progress:
        progress.planned([run])
        progress(run, RunEnded(make_result("sgd", status="interrupted", reason="signal")))
    assert progress.ended == 0
    assert list(capsys.readouterr()) == ["", ""]


def test_of_many_runs_those_that_were_there_are_told_by_their_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_progress, "MANY", 3)
    runs = [planned("sgd", seed) for seed in range(5)]
    with CompareProgress(Output()) as progress:
        progress.planned(runs)
        for run in runs[:3]:
            progress(run, RunEnded(make_result("sgd", steps=20, epochs=None), reused=True))
        progress(runs[3], RunEnded(make_result("sgd", steps=20, epochs=None)))
        progress(runs[4], RunEnded(make_result("sgd", steps=20, epochs=None), reused=True))
    assert progress.ended == 5
    assert capsys.readouterr().err.splitlines() == [
        "3 of 5 runs are there already (reused)",
        "[4/5] sgd seed 3: test accuracy 0.950, loss 0.15, 20 steps in 8.1 s",
        "1 of 5 runs are there already (reused)",
    ]


def test_of_many_trials_those_of_earlier_calls_are_told_by_their_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep_progress, "MANY", 3)
    config = SimpleNamespace(seeds=[7], objective="accuracy", sampler="qmc", optimizer=SimpleNamespace(name="sgd"))
    probe = SimpleNamespace(training=SimpleNamespace(steps=20))
    sweep: Any = SimpleNamespace(config=config, probe=probe, total=4, workers=1, space={}, directory=Path("x"))
    trials = [Trial(n, {"lr": 0.1}, 0.5 + n / 10, (RunOutcome(7, "finished", None, 0.5 + n / 10),)) for n in range(4)]
    with SweepProgress(Output(), sweep) as progress:
        for end in range(1, 4):
            progress.ended(trials[end - 1], trials[:end])
        progress(Trial(3, {"lr": 0.1}, None, ()), 7, RunTaken())
        progress.ended(trials[3], trials)
    assert progress.count == 4
    said = capsys.readouterr().err.splitlines()
    assert said[2] == "3 of 4 trials are there already (reused)"
    assert said[3].startswith("[4/4] trial 3")
    assert len(said) == 4
    assert [row.state for row in progress.board.rows.values()][:3] == ["finished"] * 3


def test_the_best_so_far_is_that_of_all_trials_seen_by_then() -> None:
    values = [0.3, 0.9, 0.5, 0.9, 0.95, 0.1]
    trials = [
        Trial(n, {}, value, (RunOutcome(1, "diverged" if n == 4 else "finished", val_accuracy=value),))
        for n, value in enumerate(values)
    ]
    trials.insert(2, Trial(9, {}, None, ()))
    best = BestSoFar("accuracy")
    found = [best.take_in(trials[: end + 1]) for end in range(len(trials))]
    assert [one and one.number for one in found] == [0, 1, 1, 1, 1, 1, 1], "of equals the earlier, none that diverged"
    assert best.count == 6, "one still runs"
