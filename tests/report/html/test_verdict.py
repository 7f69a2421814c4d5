from __future__ import annotations

from pathlib import Path

from grng.report.html.verdict import headline, progress
from grng.report.load import load_experiment
from grng.report.tables import summarise
from tests.report.factory import make_experiment, make_run, write_plan

SEEDS = 8


def test_rows_are_told_by_their_verdict_with_intervals(tmp_path: Path) -> None:
    base = [0.9 + 0.001 * seed for seed in range(SEEDS)]
    noise = [0.002 * (-1) ** seed for seed in range(SEEDS)]
    rows = {
        "adamw": base,
        "ring": [one + 0.02 + 0.5 * other for one, other in zip(base, noise, strict=True)],
        "sgd": [one - 0.03 + 0.5 * other for one, other in zip(base, noise, strict=True)],
        "kfac": [one + other for one, other in zip(base, noise, strict=True)],
        "reng": [one + 0.02 for one in base],
    }
    make_experiment(tmp_path, rows)
    make_run(tmp_path, "reng", 0, status="diverged", reason="nan", final={"test_accuracy": None})
    lines = headline(summarise(load_experiment(tmp_path), margin=0.005))
    assert lines[0].startswith("Better than adamw: ring +2.0 points [+1.9, +2.1] (n = 8).")
    assert lines[1].startswith("Worse than adamw: sgd -3.0 points [-3.1, -2.9] (n = 8).")
    assert lines[2].startswith("Equivalent to adamw within ±0.5 points: kfac 0.0 points [-0.2, +0.2] (n = 8).")
    assert lines[3].startswith("No verdict: reng (1 run of reng diverged).")
    assert lines[4].startswith("The reference adamw has a test accuracy of 0.904 [0.901, 0.906] over 8 seeds.")


def test_an_experiment_that_is_done_needs_no_word_of_it(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]})
    assert progress([load_experiment(tmp_path)]) is None
    write_plan(tmp_path, ["adamw", "ring"], [0, 1], reference="adamw", workers=1)
    assert progress([load_experiment(tmp_path)]) == (
        "This report is of an experiment that is not done: 2 of 4 runs have ended; 2 missing."
    )
