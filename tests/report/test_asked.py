from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from scipy import stats

from grng.errors import UnknownNameError
from grng.experiments.claims.expectations import parse
from grng.report.asked import check_columns, heading, parse_columns
from grng.report.columns import display_columns
from grng.report.export import to_csv, to_json, to_markdown
from grng.report.load import load_experiment
from grng.report.tables import Table, summarise
from tests.report.factory import make_experiment, make_run

NORMS = {"adamw": [1.0, 2.0, 4.0], "ring": [0.001, 0.002, 0.003]}


def table_of(root: Path, *columns: str) -> Table:
    make_experiment(root, {"adamw": [0.9, 0.91, 0.92], "ring": [0.91, 0.93, 0.92]})
    for label, norms in NORMS.items():
        for seed, norm in enumerate(norms):
            make_run(root, label, seed, diagnostics={"step": 81, "grad_norm": norm, "seconds": 2.0})
    return summarise(load_experiment(root), columns=columns)


def test_a_row_has_the_mean_and_its_interval(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    for label, norms in NORMS.items():
        row = table.row(label)
        low, high = stats.t.interval(0.95, 2, loc=stats.tmean(norms), scale=stats.sem(norms))
        assert row.grad_norm == pytest.approx(stats.tmean(norms))
        assert [row.grad_norm_low, row.grad_norm_high] == pytest.approx([low, high])
        assert row.diagnostics_s == 2.0
        assert row.hessian_max is None


def test_an_expectation_can_name_them(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    assert parse("ring.grad_norm < adamw.grad_norm", table.labels).evaluate(table).holds
    assert not parse("ring.grad_norm > 0.1 * adamw.grad_norm", table.labels).evaluate(table).holds
    missing = parse("ring.hessian_max > 0", table.labels).evaluate(table)
    assert not missing.holds
    assert "ring.hessian_max has no value: it takes runs with --diagnostics hessian_max" in missing.explanation


def test_columns_are_shown_on_request_only(tmp_path: Path) -> None:
    without = [column.title for column in display_columns(table_of(tmp_path))]
    columns = display_columns(table_of(tmp_path, "grad_norm", "best_val_accuracy"))
    assert [column.title for column in columns] == [*without, "gradient norm, nats", "best val accuracy, fraction"]
    assert columns[-2].cells == ("2.33 [-1.46, 6.13]", "0.00200 [-4.84e-04, 0.00448]")
    assert columns[-1].cells == ("0.970", "0.970")
    assert {column.group for column in columns[-2:]} == {"asked"}


def test_every_export_has_them(tmp_path: Path) -> None:
    table = table_of(tmp_path, "grad_norm")
    assert "gradient norm, nats" in to_markdown(table).splitlines()[0]
    assert json.loads(to_json(table))["rows"][1]["grad_norm"] == pytest.approx(0.002)
    assert float(next(csv.DictReader(io.StringIO(to_csv(table))))["grad_norm"]) == pytest.approx(7 / 3)


def test_runs_that_did_not_measure_what_is_asked_for_are_named(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.91], "ring": [0.91, 0.93]})
    make_run(tmp_path, "ring", 0, diagnostics={"step": 81, "grad_norm": 1.0})
    table = summarise(load_experiment(tmp_path), columns=["grad_norm_low", "grad_norm", "val_loss"])
    assert [warning.partition(", done")[0] for warning in table.warnings] == [
        "adamw: 2 of 2 runs without grad_norm",
        "ring: 1 of 2 runs without grad_norm",
    ]
    assert not summarise(load_experiment(tmp_path), columns=["val_loss"]).warnings


def test_names_are_checked_with_the_nearest() -> None:
    assert parse_columns("grad_norm, val_loss") == ["grad_norm", "val_loss"]
    check_columns(["grad_norm", "hessian_max_low", "steps"])
    with pytest.raises(UnknownNameError, match="a row has no field 'grad_nrm'") as caught:
        check_columns(["grad_nrm"])
    assert caught.value.hint is not None
    assert "'grad_norm'" in caught.value.hint


def test_headings_have_units() -> None:
    assert heading("hessian_max") == "Hessian λmax, nats"
    assert heading("step_cosine") == "cos(step, -gradient)"
    assert heading("hessian_max_low") == "hessian max low, nats"
