"""Profiles and ranks over workloads, worked out by hand."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from grng.report.load import load_experiment
from grng.report.overall import Overall, over_workloads
from grng.report.overall_export import (
    overall_columns,
    overall_dict,
    overall_markdown,
    overall_notes,
    overall_sentences,
    workloads_csv,
)
from grng.report.tables import Table, summarise
from tests.report.factory import make_run, write_plan

Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def run(accuracy: float, step: int | None = 50, **more: Any) -> dict[str, Any]:
    target = {"accuracy": 0.95, "step": step, "time_s": None if step is None else step / 10}
    return {"final": {"test_accuracy": accuracy}, "target": target, **more}


def overall(tmp_path: Path, workloads: Mapping[str, Runs]) -> tuple[Overall, dict[str, Table]]:
    experiments = {}
    for name, rows in workloads.items():
        write_plan(tmp_path / name, list(rows), list(range(max(map(len, rows.values())))), reference="adamw", workers=1)
        for label, runs in rows.items():
            for seed, changes in enumerate(runs):
                make_run(tmp_path / name, label, seed, **changes)
        experiments[name] = load_experiment(tmp_path / name)
    tables = {name: summarise(one) for name, one in experiments.items()}
    return over_workloads(experiments, tables), tables


def test_profiles_are_of_medians_and_never_reached_is_infinity(tmp_path: Path) -> None:
    made, _ = overall(
        tmp_path,
        {
            "a": {"adamw": [run(0.9, 50), run(0.9, 60), run(0.9, 70)], "ring": [run(0.9, 40)] * 3},
            "b": {"adamw": [run(0.9, 20)] * 3, "ring": [run(0.9, 10), run(0.9, None), run(0.9, None)]},
        },
    )
    assert made.steps is not None
    assert made.steps.costs == {"adamw": (60.0, 20.0), "ring": (40.0, math.inf)}
    assert made.steps.shares == {"adamw": (0.5, 1.0, 1.0, 1.0), "ring": (0.5, 0.5, 0.5, 0.5)}
    # the exact area: ring is 1 and infinity, adamw 1.5 and 1 times the fastest
    assert made.steps.profiles.scores["ring"] == pytest.approx(0.5)
    assert made.steps.profiles.scores["adamw"] == pytest.approx((1 + 2.5 / 3) / 2, abs=0.5 / 99)
    assert made.time is not None
    assert made.time.costs["adamw"] == pytest.approx((6.0, 2.0))
    assert made.time.shares == made.steps.shares
    lines = overall_sentences(made)
    assert lines[0].startswith("profile scores on steps to the target over 2 workloads")
    assert lines[0].endswith("adamw 0.917, ring 0.500")


def test_a_row_that_diverged_or_failed_is_last_there(tmp_path: Path) -> None:
    broken = {"status": "diverged", "reason": "nan", "final": {"test_accuracy": None}, "target": {"accuracy": 0.95}}
    failed = {"status": "failed", "reason": "crash", "final": {"test_accuracy": None}}
    made, _ = overall(
        tmp_path,
        {
            "a": {"adamw": [run(0.90)] * 2, "ring": [run(0.99), broken], "sgd": [run(0.95)] * 2},
            "b": {"adamw": [run(0.90)] * 2, "ring": [run(0.99)] * 2, "sgd": [failed, failed]},
        },
    )
    assert made.ranks is not None
    assert {label: rank.mean for label, rank in made.ranks.items()} == {"adamw": 2.0, "ring": 2.0, "sgd": 2.0}
    assert "ranked last there: ring on a (diverged), sgd on b (failed)" in made.notes
    assert "profiles on steps count as never reached what failed: sgd on b" in made.notes
    assert made.steps is not None
    assert made.steps.costs["sgd"] == (50.0, math.inf)


def test_ranks_are_over_seeds_that_all_have(tmp_path: Path) -> None:
    waiting = {"status": "interrupted", "final": {"test_accuracy": None}}
    made, _ = overall(
        tmp_path,
        {
            "a": {"adamw": [run(0.90), run(0.99)], "ring": [run(0.95), waiting]},
            "b": {"adamw": [run(0.90)], "ring": [waiting]},
        },
    )
    assert made.ranks is not None
    assert (made.ranks["ring"].mean, made.ranks["adamw"].mean, made.ranked) == (1.0, 2.0, ("a",))
    assert "ranks are over the seeds that all rows have: a over 1 seed of 2" in made.notes
    assert "ranks are without b: no seed in which every row finished" in made.notes
    assert "profiles on steps are without b: no run of ring has ended" in made.notes


def test_times_that_are_not_comparable_make_no_profile(tmp_path: Path) -> None:
    shared = {"time": {"total_s": 12.0, "train_s": 8.1, "step_ms": 100.0, "step_ms_median": 99.0, "shared": True}}
    made, _ = overall(
        tmp_path,
        {
            "a": {"adamw": [run(0.9)], "ring": [run(0.9, 25)]},
            "b": {"adamw": [run(0.9)], "ring": [run(0.9, 25, **shared)]},
        },
    )
    assert made.steps is not None
    assert made.time is not None
    assert (made.steps.workloads, made.time.workloads) == (("a", "b"), ("a",))
    assert "profiles on time are without b: its times are not comparable" in made.notes


def test_rows_of_some_workloads_only_are_left_out(tmp_path: Path) -> None:
    made, tables = overall(
        tmp_path,
        {"a": {"adamw": [run(0.9)], "ring": [run(0.95)]}, "b": {"adamw": [run(0.9)], "kfac": [run(0.95)]}},
    )
    assert made.labels == ("adamw",)
    assert "not on every workload, so left out over all: ring, kfac" in made.notes
    none, _ = overall(tmp_path / "none", {"a": {"ring": [run(0.9)]}, "b": {"kfac": [run(0.9)]}})
    assert (none.labels, none.steps, none.ranks) == ((), None, None)
    assert overall_sentences(none) == []
    lines = list(csv.reader(workloads_csv(tables).splitlines()))
    assert [line[:2] for line in lines] == [["workload", "label"], ["a", "adamw"], ["a", "ring"], ["b", "adamw"],
                                            ["b", "kfac"]]  # fmt: skip


def test_without_targets_there_are_ranks_alone(tmp_path: Path) -> None:
    aimless = {"target": {"accuracy": None, "step": None, "time_s": None}}
    rows = {label: [run(accuracy) | aimless] * 5 for label, accuracy in (("adamw", 0.9), ("ring", 0.8))}
    made, _ = overall(tmp_path, dict.fromkeys("ab", rows))
    assert (made.steps, made.time) == (None, None)
    assert [column.title for column in overall_columns(made)] == [
        "optimizer",
        "mean rank, test accuracy",
        "ranked first",
    ]
    assert overall_columns(made)[1].cells == ("1.00 [1.00, 1.00]", "2.00 [2.00, 2.00]")
    document = overall_dict(made)
    assert document["profiles"]["steps"] is None
    assert document["ranks"]["rows"]["ring"]["mean"] == 2.0
    assert "| ring | 2.00 [2.00, 2.00] | 0 % |" in overall_markdown(made)
    assert any(note.startswith("profiles on steps are without a, b") for note in overall_notes(made))
    assert any(
        "; with 5 seeds, which resampling takes for all there are, they are too narrow" in note
        for note in overall_notes(made)
    )


def test_ranks_of_a_handful_of_seeds_have_no_interval(tmp_path: Path) -> None:
    made, _ = overall(tmp_path, {name: {"adamw": [run(0.9)] * 3, "ring": [run(0.8)] * 3} for name in "ab"})
    titles = {column.title: column.cells for column in overall_columns(made)}
    assert titles["mean rank, test accuracy"] == ("1.00", "2.00")
    assert "ranked first" not in titles
    assert overall_dict(made)["ranks"]["rows"]["ring"] == {"mean": 2.0, "low": None, "high": None, "best_share": None}
    note = "mean ranks: 1 is the best, equals share; 3 seeds are too few for an interval (from 5 on)"
    assert note in overall_notes(made)
