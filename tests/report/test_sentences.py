from __future__ import annotations

from pathlib import Path
from typing import Any

from grng.report.checks import power_note
from grng.report.load import load_experiment
from grng.report.sentences import sentences
from grng.report.tables import summarise
from tests.report.factory import make_experiment, make_run, place, write_plan

NEVER: dict[str, Any] = {"target__step": None, "target__time_s": None}


def lines_of(root: Path) -> list[str]:
    return sentences(summarise(load_experiment(root)))


def test_accuracies_with_difference_and_verdict(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.95, 0.97, 0.955], "ring": [0.97, 0.98, 0.96]})
    lines = lines_of(tmp_path)
    assert lines[0] == "test accuracy: adamw 0.958 [0.932, 0.984] (3 seeds)"
    assert lines[1] == (
        "test accuracy: ring 0.970 [0.945, 0.995], +1.2 points [-0.7, +3.1] against adamw: "
        "not distinguishable with n = 3"
    )


def test_a_verdict_names_the_p_that_it_rests_on(tmp_path: Path) -> None:
    reference = [0.90 + k / 2000 for k in range(8)]
    make_experiment(tmp_path, {"adamw": reference, "ring": [value + 0.05 for value in reference]})
    assert lines_of(tmp_path)[1].endswith("against adamw: better (Holm-adjusted p = 0.0078, n = 8)")


def test_steps_and_time_to_the_target_are_ratios_to_the_reference(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9] * 3, "ring": [0.9] * 3})
    for seed, step in enumerate([40, 44, 45]):
        make_run(tmp_path, "ring", seed, target={"step": step, "time_s": 5.4 * 1.12})
    lines = lines_of(tmp_path)
    assert lines[2] == "adamw reached the target (0.95 validation accuracy) in 3 of 3 runs, median 54 steps and 5.40 s"
    assert lines[3] == (
        "ring reached the target (0.95 validation accuracy) in 0.80 [0.68, 0.93] of adamw's steps "
        "and 1.12 [1.12, 1.12] of its time (3 seeds)"
    )
    for seed, step in enumerate([40, 44, 45]):
        make_run(tmp_path, "ring", seed, target={"step": step, "time_s": 5.4 * 1.12}, time__shared=True)
    assert lines_of(tmp_path)[3].endswith("in 0.80 [0.68, 0.93] of adamw's steps (3 seeds)")


def test_never_reaching_the_target_is_said(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9] * 3, "ring": [0.9] * 3, "sgd": [0.9] * 3})
    for seed in range(3):
        make_run(tmp_path, "sgd", seed, **NEVER)
    make_run(tmp_path, "ring", 1, **NEVER)
    lines = lines_of(tmp_path)
    assert "sgd never reached the target (0.95 validation accuracy) in 3 runs" in lines
    assert (
        "ring reached the target (0.95 validation accuracy) in 2 of 3 runs, median 54 steps and 5.40 s; "
        "adamw in 3 of 3 runs, median 54 steps and 5.40 s"
    ) in lines
    make_run(tmp_path, "ring", 2, **NEVER)
    for seed in range(3):
        make_run(tmp_path, "adamw", seed, **NEVER)
    assert "ring reached the target (0.95 validation accuracy) in 1 of 3 runs; adamw never in 3 runs" in (
        lines_of(tmp_path)
    )


def test_diverged_runs_are_said_beside_the_mean(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9] * 3, "ring": [0.9] * 3, "kfac": [0.9] * 3})
    make_run(tmp_path, "ring", 1, status="diverged", reason="nan", final__test_accuracy=None)
    for seed in range(3):
        make_run(tmp_path, "kfac", seed, status="diverged", reason="nan", final__test_accuracy=None)
    lines = lines_of(tmp_path)
    assert lines[1].endswith("against adamw: not distinguishable with n = 2; 1 more run diverged")
    assert lines[2] == "test accuracy: kfac has none, all diverged"


def test_one_run_and_none(tmp_path: Path) -> None:
    make_experiment(tmp_path / "a", {"ring": [0.9]})
    assert lines_of(place(tmp_path / "a", "ring", 0)) == [
        "test accuracy: ring 0.900 (1 seed)",
        "ring reached the target (0.95 validation accuracy) in 1 of 1 run, median 54 steps and 5.40 s",
    ]
    write_plan(tmp_path / "b", ["adamw", "ring"], [0])
    assert lines_of(tmp_path / "b") == ["test accuracy: ring has none, no run finished"]


def test_without_a_target_no_line_is_about_one(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]}, target={"accuracy": None, "step": None, "time_s": None})
    assert not any("target" in line for line in lines_of(tmp_path))


def test_the_note_on_power_knows_what_would_do() -> None:
    assert power_note(3, 6) == (
        "with 3 seeds the smallest possible p is 0.25: no test can reach 0.05; 8 seeds can (six comparisons, Holm)"
    )
    assert power_note(6, 6) == (
        "with 6 seeds the smallest possible p is 0.031, 0.19 after Holm's correction: "
        "no test can reach 0.05; 8 seeds can (six comparisons, Holm)"
    )
    assert power_note(1, 1) == (
        "with 1 seed the smallest possible p is 1: no test can reach 0.05; 6 seeds can (one comparison)"
    )
    assert power_note(8, 6) is None
    assert power_note(6, 1) is None
    assert power_note(0, 6) is None
    assert power_note(3, 0) is None
