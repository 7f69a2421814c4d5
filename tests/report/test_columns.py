from __future__ import annotations

import math
from pathlib import Path

import pytest

from grng.report.columns import display_columns, fixed, interval, number, points, runs, to_target
from grng.report.load import load_experiment
from grng.report.row import Row
from grng.report.tables import Table, summarise
from tests.report.factory import make_experiment, make_run, place


def table_of(root: Path) -> Table:
    return summarise(load_experiment(root))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (0.0, "0"),
        (12.345, "12.3"),
        (0.012345, "0.0123"),
        (-1.5, "-1.50"),
        (99999.0, "99999"),
        (1234567.0, "1.23e+06"),
        (0.00012, "1.20e-04"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_intervals_are_written_with_their_mean() -> None:
    assert interval(0.975, 0.962, 0.988) == "0.975 [0.962, 0.988]"
    assert interval(0.975, None, None) == "0.975"
    assert interval(None, None, None) == "–"
    assert interval(1.2, 0.0, math.inf, decimals=2) == "1.20 [0.00, ∞]"
    assert interval(1.2, 0.0, 1e12, decimals=2) == "1.20 [0.00, 1.00e+12]"
    assert fixed(None) == "–"


def test_differences_are_in_points_and_signed() -> None:
    assert points(Row("ring", difference=0.004, difference_low=-0.001, difference_high=0.009)) == "+0.4 [-0.1, +0.9]"
    assert points(Row("ring", difference=-0.004)) == "-0.4"
    assert points(Row("ring", difference=-0.0001)) == "0.0"
    assert points(Row("ring")) == "–"


def test_what_became_of_the_runs_is_in_one_cell() -> None:
    assert runs(Row("ring", n=3)) == "3"
    assert runs(Row("ring", n=2, diverged=1, failed=2, unfinished=3)) == "2, 1 diverged, 2 failed, 3 unfinished"


def test_a_target_that_not_all_reached_shows_the_count() -> None:
    assert to_target(Row("ring", target_runs=3, reached=0), math.inf) == "∞ (0/3)"
    assert to_target(Row("ring", target_runs=3, reached=2), 81.0) == "81 (2/3)"
    assert to_target(Row("ring", target_runs=3, reached=3), 1.2345, timed=True) == "1.23"
    assert to_target(Row("ring", target_runs=3, reached=3, time_mark="x"), 1.2345, timed=True) == "1.23*"
    assert to_target(Row("ring", target_runs=3, reached=3), None, timed=True) == "–"
    assert to_target(Row("ring"), None) == "–"


def test_columns_have_a_cell_a_row_and_contiguous_groups(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.91, 0.92], "ring": [0.91, 0.93, 0.92]})
    make_run(tmp_path, "ring", 0, time__shared=True, final__test_accuracy=0.91)
    columns = display_columns(table_of(tmp_path))
    assert all(len(column.cells) == 2 for column in columns)
    groups = [column.group for column in columns]
    assert groups[0] is None
    assert list(dict.fromkeys(groups)) == sorted(set(groups), key=groups.index)
    assert len([g for k, g in enumerate(groups) if k == 0 or groups[k - 1] != g]) == len(set(groups))
    cells = {column.title: column.cells for column in columns}
    assert cells["optimizer"] == ("adamw", "ring")
    assert cells["test accuracy"][0] == "0.910 [0.885, 0.935]"
    assert cells["against adamw, points"][0] == "reference"
    assert cells["against adamw, points"][1].startswith("+1.0 [")
    assert cells["verdict"] == ("", "not distinguishable with n = 3")
    assert cells["p (Holm)"] == ("–", "0.5 (0.5)")
    assert cells["step, ms"] == ("100", "100*")
    assert cells["step / adamw"] == ("1.00 ×", "1.00 ×*")
    assert cells["steps to 0.95 val. accuracy"] == ("54", "54")


def test_a_single_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"ring": [0.9]})
    titles = [column.title for column in display_columns(table_of(place(tmp_path, "ring", 0)))]
    assert "test accuracy" in titles
    assert not any("ring" in title or title in ("verdict", "p (Holm)") for title in titles)
