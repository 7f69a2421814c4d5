from __future__ import annotations

import re
from pathlib import Path

import pytest

from grng.report.columns import display_columns
from grng.report.latex import _row, latex_text, to_latex
from grng.report.load import load_experiment
from grng.report.tables import summarise
from tests.report.factory import make_experiment

ODD = r"x[&b%c_d#e$f{g}~h^i\j"


def test_nothing_of_a_name_is_a_command(tmp_path: Path) -> None:
    table = summarise(load_experiment(make_experiment(tmp_path, {"adamw": [0.9, 0.91], ODD: [0.8, 0.82]})))
    text = to_latex(table)
    body = [line for line in text.splitlines() if not line.startswith("%")]
    for sign in "&%#$_":
        unescaped = [line for line in body if re.search(rf"(?<!\\){re.escape(sign)}[bcdefg]", line)]
        assert not unescaped, sign
    # Braces that are not escaped balance.
    bare = re.sub(r"\\[{}]", "", "\n".join(body))
    assert bare.count("{") == bare.count("}")
    assert _row(("[a]", "1")) == "{}[a] & 1 \\\\", "a bracket there would be an argument of the line's end before"
    assert "x[\\&b\\%c\\_d\\#e\\$f\\{g\\}" in text


def test_every_row_has_as_many_cells_as_its_table_has_columns(tmp_path: Path) -> None:
    table = summarise(load_experiment(make_experiment(tmp_path, {"adamw": [0.9, 0.91], "ring": [0.8, 0.82]})))
    blocks = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", to_latex(table), flags=re.DOTALL)
    assert len(blocks) == 3
    titles = []
    for alignment, body in blocks:
        rows = [line.strip().removesuffix(r"\\") for line in body.splitlines() if line.strip().endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(alignment)}
        assert len(rows) == 1 + len(table.rows)
        titles += [cell.strip() for cell in rows[0].split("&")][1:]
    assert titles == [latex_text(column.title) for column in display_columns(table)][1:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-0.4 [-1.2, +0.4]", "$-$0.4 [$-$1.2, +0.4]"),
        ("r-kalman 1e-05 a-1", "r-kalman 1e-05 a-1"),
        ("1.2 × ∞ ≤ ± –", r"1.2 $\times$ $\infty$ $\leq$ $\pm$ --"),
        ("two\nlines\u202e", "two lines "),
    ],
)
def test_signs(text: str, expected: str) -> None:
    assert latex_text(text) == expected
