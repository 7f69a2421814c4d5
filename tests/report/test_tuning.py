"""What a report says of how its rows were tuned."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from grng.report.export import to_csv, to_dict, to_markdown
from grng.report.load import load_experiment
from grng.report.sentences import sentences
from grng.report.tables import Table, summarise
from grng.report.tuning import budget_of
from tests.report.factory import make_experiment, make_run, write_plan

EDGE = {"name": "lr", "value": 0.0098, "bound": 0.01, "upper": True, "wider": "log(0.001, 0.1)"}


def tuned(optimizer: str, **changes: Any) -> dict[str, Any]:
    return {
        "directory": f"tuning/{optimizer}",
        "optimizer": optimizer,
        "model": "test_resnet",
        "dataset": "mnist5k",
        "sampler": "qmc",
        "objective": "accuracy",
        "tuning_seeds": 1,
        "finished": 9,
        "diverged": 1,
        "failed": 0,
        "values": {"lr": 0.0098, "step_norm": "rms"},
        "value": 0.925,
        "edges": [],
        **changes,
    }


def table_of(root: Path, tuning: dict[str, Any]) -> Table:
    make_experiment(root, {"adamw": [0.9] * 8, "ring": [0.95 + k / 1000 for k in range(8)]})
    write_plan(root, ["adamw", "ring"], list(range(8)), reference="adamw", workers=1, tuning=tuning)
    return summarise(load_experiment(root))


def test_equal_budgets_are_a_note_and_stand_in_the_sentences(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"adamw": tuned("adamw"), "ring": tuned("ring")})
    assert table.notes[0] == "tuned: 10 trials each (quasi-random, validation accuracy, 1 tuning seed a trial)"
    assert not table.warnings
    lines = sentences(table)
    assert lines[0].endswith("(8 seeds, 10 trials each)")
    assert lines[1].endswith("against adamw: better (Holm-adjusted p = 0.0078, n = 8, 10 trials each)")
    assert lines[3].endswith(" of its time (8 seeds, 10 trials each)")


def test_other_budgets_and_workloads_and_rows_without_are_warnings(tmp_path: Path) -> None:
    table = table_of(tmp_path / "a", {"adamw": tuned("adamw"), "ring": tuned("ring", finished=19)})
    assert table.warnings == ("NOT TUNED ALIKE: adamw 10 trials, ring 20 trials; more trials flatter a row",)
    assert sentences(table)[0].endswith("(8 seeds, 10 trials)")
    assert sentences(table)[1].endswith("n = 8, ring 20 trials, adamw 10 trials)")
    seeds = table_of(tmp_path / "b", {"adamw": tuned("adamw"), "ring": tuned("ring", tuning_seeds=2)})
    assert "ring 10 trials (quasi-random, validation accuracy, 2 tuning seeds a trial)" in seeds.warnings[0]
    alone = table_of(tmp_path / "c", {"ring": tuned("ring", dataset="digits")})
    assert alone.warnings == (
        "NOT TUNED ALIKE: adamw is not tuned, ring tuned",
        "ring was tuned on another workload: test_resnet on digits",
    )
    assert sentences(alone)[0].endswith("(8 seeds)")
    assert sentences(alone)[1].endswith("n = 8, ring 10 trials, adamw not tuned)")


def test_a_value_at_the_edge_names_the_bound_and_what_to_type(tmp_path: Path) -> None:
    elsewhere = tuned("ring", edges=[EDGE], directory=str(tmp_path / "sweep"))
    table = table_of(tmp_path / "x", {"adamw": tuned("adamw", edges=[EDGE]), "ring": elsewhere})
    inside, outside = table.warnings
    assert inside == (
        "the best lr of adamw, 0.0098, is at the upper end of what was searched, 0.01: a better one may lie beyond. "
        "Move it with --set 'tune.spaces.adamw.lr=log(0.001, 0.1)'"
    )
    assert outside.endswith("Move it with grng sweep --optimizer ring --space 'lr=log(0.001, 0.1)'")


def test_the_values_are_in_every_format(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"adamw": tuned("adamw"), "ring": tuned("ring", objective="loss", value=None)})
    document = json.loads(json.dumps(to_dict(table)))
    assert document["tuning"]["ring"]["values"] == {"lr": 0.0098, "step_norm": "rms"}
    assert (document["tuning"]["adamw"]["trials"], document["tuning"]["adamw"]["diverged"]) == (10, 1)
    assert [row["tuning_trials"] for row in document["rows"]] == [10, 10]
    assert [row["tuning_trials"] for row in csv.DictReader(io.StringIO(to_csv(table)))] == ["10", "10"]
    assert "\n| adamw | 10 | 1 | 0.925 | lr=0.0098, step\\_norm=rms |\n" in to_markdown(table)
    assert "\n| ring | 10 | 1 | ∞ | " in to_markdown(table)


def test_what_was_not_tuned_says_nothing(tmp_path: Path) -> None:
    table = table_of(tmp_path, {})
    assert not any("tun" in text for text in (*table.notes, *table.warnings, *sentences(table)))
    assert (table.tuning, table.curves) == ({}, {})
    assert budget_of("ring", "adamw", {}) == ""


@pytest.mark.parametrize("tuning", [3, ["ring"], {"ring": 3}, {"ring": {"directory": "x"}}])
def test_a_damaged_record_is_said(tmp_path: Path, tuning: Any) -> None:
    table = table_of(tmp_path, tuning)
    assert table.warnings == (f"what {tmp_path / 'experiment.yaml'} says of tuning cannot be read",)


def test_rows_of_two_experiments_keep_their_own_tuning(tmp_path: Path) -> None:
    for name, lr, trials in (("a", 0.1, 4), ("b", 0.2, 9)):
        make_run(tmp_path / name, "ring", 0, hyperparameters={"lr": lr})
        plan = {"ring": tuned("ring", finished=trials, diverged=0)}
        write_plan(tmp_path / name, ["ring"], [0], reference="ring", tuning=plan)
    table = summarise(load_experiment([tmp_path / "a", tmp_path / "b"]))
    assert {label: one.trials for label, one in table.tuning.items()} == {"ring[lr=0.1]": 4, "ring[lr=0.2]": 9}
