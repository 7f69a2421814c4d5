"""Trials that are ended early: which ones, what is kept of them, and that the report says so."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from grng.experiments.pool.executor import EventHandler, InProcessExecutor
from grng.experiments.sweeps import sweep as module
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.plan import PreparedSweep, prepare
from grng.experiments.sweeps.pruning import STARTUP_TRIALS
from grng.experiments.sweeps.summary import Summary
from grng.experiments.sweeps.sweep import sweep
from grng.experiments.tuning.record import row_tuning
from grng.report.sensitivity import make_map, read_points
from grng.report.tuning import notes_of_tuning
from grng.report.tuning_curves import read_curves
from grng.runs.config import RunConfig
from grng.runs.result import Final, RunResult
from grng.training.events import Evaluated
from tests.experiments.runners import result_of, save_interrupted

STEPS = (1, 2, 3, 4)


def curve(config: RunConfig) -> list[float]:
    """Validation accuracies at STEPS; they cross, so that the last is not known from the first."""
    lr, decay = (config.optimizer.hyperparameters[name] for name in ("lr", "weight_decay"))
    return [round(0.4 + 0.1 * step + lr - decay * (4 - step), 4) for step in STEPS]


class Evaluating:
    """A runner that reports each evaluation, and stops as training does when a listener asks for it."""

    def __init__(self, *, killed_at: int | None = None) -> None:
        self.killed_at = killed_at
        self.count = 0

    def __call__(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
    ) -> RunResult:
        values = curve(config)
        for step, value in zip(STEPS, values, strict=True):
            self.count += 1
            if self.count == self.killed_at:
                raise SystemExit
            try:
                on_event(Evaluated(step, 1, 0.1 * step, 1 - value, value, is_best=False))
            except KeyboardInterrupt:
                save_interrupted(config, directory, steps=step)
        final = Final(val_accuracy=values[-1], val_loss=1 - values[-1])
        return result_of(config, steps=4).model_copy(update={"final": final})


@pytest.fixture(autouse=True)
def _nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.experiments.preflight.check", lambda configs, **given: ())
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)


def prepared(output: Path, **given: Any) -> PreparedSweep:
    settings = {"optimizer": "adamw", "dataset": "digits", "model": "test_vit", "workers": 0, "trials": 14}
    space = {"lr": "log(0.001, 0.1)", "weight_decay": "uniform(0, 0.1)"}
    training = {"steps": STEPS[-1]}
    return prepare(
        SweepConfig.model_validate(
            {**settings, "space": space, "training": training, "pruner": "median", **given, "output": str(output)}
        )
    )


def run(ready: PreparedSweep, runner: Evaluating | None = None) -> Summary:
    return sweep(ready, executor=InProcessExecutor(runner=runner or Evaluating()))


def by_hand(ready: PreparedSweep, summary: Summary) -> dict[int, int]:
    """The step at which the median rule ends each trial, by its definition: those that it ends at all."""
    curves: dict[int, list[float]] = {}
    ended: dict[int, int] = {}
    for trial in summary.trials:
        values = curve(ready.run(trial.values, 0))
        complete = [number for number in curves if number not in ended]
        for index, step in enumerate(STEPS):
            at_this_step = [curves[number][index] for number in complete]
            enough = len(complete) >= STARTUP_TRIALS
            if enough and step < STEPS[-1] and max(values[: index + 1]) < statistics.median(at_this_step):
                ended[trial.number] = step
                break
        curves[trial.number] = values
    return ended


def test_the_median_rule_ends_the_trials_that_its_definition_ends(tmp_path: Path) -> None:
    ready = prepared(tmp_path / "x")
    summary = run(ready)
    expected = by_hand(ready, summary)
    assert len(expected) > 2, "else the test asks nothing"
    found = {trial.number: trial for trial in summary.trials if trial.status == "pruned"}
    assert {number: trial.runs[0].reason for number, trial in found.items()} == {
        number: f"at step {step}" for number, step in expected.items()
    }
    for number, trial in found.items():
        assert trial.value == curve(ready.run(trial.values, 0))[expected[number] - 1], "the last that was measured"
    assert summary.best is not None
    assert summary.best.status == "finished"
    assert summary.counts == {
        "finished": 14 - len(found),
        "pruned": len(found),
        "diverged": 0,
        "failed": 0,
        "running": 0,
    }


def test_all_trials_run_to_their_end_by_default(tmp_path: Path) -> None:
    summary = run(prepared(tmp_path / "x", pruner="none"))
    assert summary.counts["finished"] == 14
    assert not any("early" in warning for warning in summary.warnings)


def test_that_a_pruner_ended_none_is_said_too(tmp_path: Path) -> None:
    assert run(prepared(tmp_path / "x", trials=3)).warnings == ["none of 3 trials was ended early (pruner median)."]


def test_successive_halving_ends_trials_too(tmp_path: Path) -> None:
    assert run(prepared(tmp_path / "x", pruner="halving")).counts["pruned"] > 2


def test_what_was_ended_is_said_wherever_the_sweep_is_reported(tmp_path: Path) -> None:
    summary = run(prepared(tmp_path / "x"))
    count = summary.counts["pruned"]
    (warning,) = [line for line in summary.warnings if "early" in line]
    assert warning.startswith(f"{count} of 14 trials were ended early (pruner median)")
    document = json.loads((tmp_path / "x" / "sweep.json").read_text())
    assert (document["pruner"], document["counts"]["pruned"]) == ("median", count)
    row = row_tuning(tmp_path / "x", "adamw", tmp_path)
    assert (row.trials, row.pruned) == (14, count)
    (note,) = notes_of_tuning(["adamw"], {"adamw": row})
    assert f"{count} ended early by the pruner median" in note
    curves = read_curves({"adamw": tmp_path / "x"})
    assert summary.curve is not None
    assert curves["adamw"].points == summary.curve.points
    lowest = min(trial.value for trial in summary.trials if trial.value is not None)
    assert summary.curve.points[0].low >= lowest > 0, "a trial counts as it stood, not as lost"
    cells = [cell for row in make_map(read_points(tmp_path / "x"), "lr", "weight_decay").cells for cell in row]
    assert sum(cell.pruned for cell in cells) == count


def test_a_sweep_that_was_killed_goes_on_with_what_was_measured(tmp_path: Path) -> None:
    whole = run(prepared(tmp_path / "whole"))
    for killed_at in (7, 33):
        with pytest.raises(SystemExit):
            run(prepared(tmp_path / str(killed_at)), Evaluating(killed_at=killed_at))
        again = run(prepared(tmp_path / str(killed_at)))
        assert [(one.status, one.value, one.values) for one in again.trials] == [
            (one.status, one.value, one.values) for one in whole.trials
        ]


def test_a_folder_is_of_one_pruner_alone(tmp_path: Path) -> None:
    run(prepared(tmp_path / "x"))
    with pytest.raises(Exception, match="holds another sweep: its pruner is median, this one's none"):
        prepared(tmp_path / "x", pruner="none")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "steps-to-target"}, "needs the objective accuracy or loss"),
        ({"tuning_seeds": 2}, "judges a trial by one run"),
        ({"pruner": "best"}, "'none', 'median' or 'halving'"),
    ],
)
def test_what_cannot_be_pruned_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        prepared(tmp_path / "x", **given)
