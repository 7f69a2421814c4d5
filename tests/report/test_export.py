from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from grng.report.columns import display_columns
from grng.report.export import to_csv, to_dict, to_json, to_markdown, to_plain
from grng.report.load import load_experiment
from grng.report.row import FIELDS
from grng.report.sentences import sentences
from grng.report.tables import Table, summarise
from tests.report.factory import make_experiment, make_run

ODD = 'a|b *c* <d>, "e" 中'


@pytest.fixture
def table(tmp_path: Path) -> Table:
    make_experiment(tmp_path, {"adamw": [0.9, 0.92], "ring": [0.91, 0.93], ODD: [0.8, 0.8]})
    for seed in range(2):
        make_run(tmp_path, "ring", seed, target__step=None, target__time_s=None, final__test_accuracy=0.91 + seed / 50)
    make_run(tmp_path, ODD, 1, status="diverged", reason="nan", final__test_accuracy=None)
    return summarise(load_experiment(tmp_path))


def refuse_constant(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def test_json_is_strict_and_complete(table: Table) -> None:
    document = json.loads(to_json(table), parse_constant=refuse_constant)
    assert document == to_dict(table)
    assert document["schema_version"] == 1
    assert [row["label"] for row in document["rows"]] == ["adamw", "ring", ODD]
    assert all(set(FIELDS) <= set(row) for row in document["rows"])
    ring = document["rows"][1]
    assert ring["steps_to_target"] == ring["time_to_target"] == "inf"
    assert ring["test_accuracy"] == pytest.approx(0.92)
    assert document["rows"][2]["test_accuracy_low"] is None
    assert document["sentences"] == sentences(table)
    assert document["notes"] == list(table.notes)


def test_csv_reads_back(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["label"] for row in rows] == ["adamw", "ring", ODD]
    assert list(rows[0])[3:] == list(FIELDS)
    assert [row["is_reference"] for row in rows] == ["true", "false", "false"]
    assert float(rows[1]["test_accuracy"]) == table.rows[1].test_accuracy
    assert rows[1]["steps_to_target"] == "inf"
    assert rows[2]["test_accuracy_low"] == ""
    assert rows[2]["diverged"] == "1"


def test_markdown_has_as_many_cells_in_every_line(table: Table) -> None:
    text = to_markdown(table)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(table.rows)
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {len(display_columns(table))}
    assert cells[4][0].strip() == 'a\\|b \\*c\\* \\<d>, "e" 中'
    assert [rule.strip() for rule in cells[1]][:3] == ["---", "---", "---:"]
    assert "- test accuracy: ring 0.920" in text
    assert "∞ (0/2)" in lines[3]


def test_markdown_shows_warnings(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]})
    make_run(tmp_path, "ring", 0, environment__torch="2.10")
    text = to_markdown(summarise(load_experiment(tmp_path)))
    assert "- **Warning:** results of different versions of torch are mixed: 2.9.0 (1 run), 2.10 (1 run)" in text


def test_plain_text_is_aligned(table: Table) -> None:
    lines = to_plain(table).splitlines()
    assert len(lines) == 2 + len(table.rows)
    column = lines[0].index("runs")
    assert [lines[2][column], lines[3][column]] == ["2", "2"]
    # The wide character takes two cells of a terminal, and one place of the string.
    assert lines[4][column - 1 :].startswith("1, 1 diverged")
    assert not any(line.endswith(" ") for line in lines)
    assert set(lines[1]) == {"─", " "}
