"""The expected best of k trials, against all draws one by one."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from grng.report.load import load_experiment
from grng.report.tables import summarise
from grng.report.tuning_curves import budgets, curve_of, lead_sentence, read_curves
from grng.report.tuning_tables import curve_columns, curve_remarks, tuning_as_dict
from tests.report.factory import make_experiment, make_run, write_plan
from tests.report.test_tuning import tuned

SCORES = [0.3, 0.9, 0.0, 0.7, 0.7, 0.5, 0.0]


@pytest.mark.parametrize(("trials", "expected"), [(1, [1]), (8, [1, 2, 5, 8]), (20, [1, 2, 5, 10, 20])])
def test_budgets_are_round_numbers_and_all_trials(trials: int, expected: list[int]) -> None:
    assert budgets(trials) == expected


@pytest.mark.parametrize("k", range(1, 8))
def test_accuracy_is_the_mean_over_all_draws(k: int) -> None:
    best = [max(draw) for draw in itertools.combinations(SCORES, k)]
    point = curve_of(SCORES, objective="accuracy", maximise=True, ks=[k]).at(k)
    assert point is not None
    assert point.mean == pytest.approx(sum(best) / len(best))
    assert sum(point.low <= value <= point.high for value in best) >= 0.8 * len(best)


@pytest.mark.parametrize("k", range(1, 8))
def test_a_loss_is_infinite_as_long_as_a_draw_may_be(k: int) -> None:
    losses = [math.inf if score == 0 else 1 - score for score in SCORES]
    best = sorted(min(draw) for draw in itertools.combinations(losses, k))
    point = curve_of(losses, objective="loss", maximise=False, ks=[k]).at(k)
    assert point is not None
    assert point.mean == (pytest.approx(sum(best) / len(best)) if k > 2 else math.inf)
    assert point.low in best
    assert point.high in best
    assert (point.high == math.inf) == (best[math.ceil(0.9 * len(best)) - 1] == math.inf)
    never = curve_of([math.inf] * 3, objective="loss", maximise=False)
    assert {one.mean for one in never.points} == {math.inf}


def write_sweep(directory: Path, values: list[Any], objective: str = "accuracy") -> None:
    directory.mkdir(parents=True)
    direction = "maximize" if objective == "accuracy" else "minimize"
    trials = [{"status": "finished" if value else "diverged", "value": value} for value in values]
    trials.append({"status": "running", "value": None})
    found = {"objective": objective, "direction": direction, "sampler": "qmc", "trials": trials}
    (directory / "sweep.json").write_text(json.dumps(found))
    (directory / "sweep.yaml").write_text("space: {}\n")
    make_run(directory / "trials", "x", 1_000_000)


def test_the_lead_changes_with_the_budget(tmp_path: Path) -> None:
    write_sweep(tmp_path / "steady", [0.8] * 10)
    write_sweep(tmp_path / "risky", [0.95, None] * 5)
    curves = read_curves({"steady": tmp_path / "steady", "risky": tmp_path / "risky", "gone": tmp_path / "gone"})
    assert list(curves) == ["steady", "risky"]
    assert curves["risky"].points[0].mean == pytest.approx(0.475), "a trial that diverged has accuracy 0"
    said = "best validation accuracy to be expected: after 1 and 2 trials steady leads, after 5 and 10 risky"
    assert lead_sentence(curves, "validation accuracy") == said
    assert lead_sentence({"steady": curves["steady"]}, "validation accuracy") is None


def test_a_report_shows_curves_and_takes_no_trial_for_a_run(tmp_path: Path) -> None:
    root = tmp_path / "x"
    make_experiment(root, {"adamw": [0.9, 0.9], "ring": [0.9, 0.92]})
    plan = {"adamw": tuned("adamw"), "ring": tuned("ring")}
    write_plan(root, ["adamw", "ring"], [0, 1], reference="adamw", tuning=plan)
    write_sweep(root / "tuning" / "adamw", [0.8] * 3)
    write_sweep(root / "tuning" / "ring", [0.85, 0.5])
    experiment = load_experiment(tmp_path)
    assert experiment.warnings == ()
    assert {run.seed for run in experiment.runs} == {0, 1}
    table = summarise(experiment)
    columns = {column.title: column.cells for column in curve_columns(table)}
    assert columns["best validation accuracy of k trials"] == ("adamw", "ring")
    assert columns["k = 1"] == ("0.800", "0.675 [0.500, 0.850]")
    assert columns["k = 2"] == ("0.800", "0.850")
    assert columns["k = 3"] == ("0.800", "–")
    assert curve_remarks(table)[0].endswith("after 1 trial adamw leads, after 2 ring")
    (first, _) = tuning_as_dict(table)["tuning_curves"]
    assert (first["label"], first["trials"], [point["k"] for point in first["points"]]) == ("adamw", 3, [1, 2, 3])
    assert len(load_experiment(root / "tuning" / "ring" / "trials").runs) == 1, "unless it is asked for"
