from __future__ import annotations

import csv
import io
from pathlib import Path

from grng.report.load import load_experiment
from grng.report.runs_csv import COLUMNS, runs_csv
from tests.report.factory import make_experiment, make_run, write_plan


def test_every_run_has_a_line_whatever_became_of_it(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.91], 'ring,"x"': [0.8, 0.82]})
    write_plan(tmp_path, ["adamw", 'ring,"x"'], [0, 1, 2], reference="adamw", workers=1)
    make_run(tmp_path, "adamw", 1, status="failed", reason="oom", final={"test_accuracy": None}, time__shared=True)
    rows = list(csv.DictReader(io.StringIO(runs_csv({"w": load_experiment(tmp_path)}))))
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["label"], row["seed"], row["status"]) for row in rows] == [
        ("adamw", "0", "finished"),
        ("adamw", "1", "failed"),
        ("adamw", "2", "missing"),
        ('ring,"x"', "0", "finished"),
        ('ring,"x"', "1", "finished"),
        ('ring,"x"', "2", "missing"),
    ]
    assert float(rows[3]["test_accuracy"]) == 0.8
    assert (rows[1]["reason"], rows[1]["test_accuracy"], rows[1]["time_shared"]) == ("oom", "", "true")
    assert rows[2]["test_accuracy"] == rows[2]["steps"] == ""
    assert rows[0]["workload"] == "w"
