"""A table as JSON, CSV, Markdown and plain text.

Numbers that are not finite: in JSON and CSV, infinity ("never reached the target") is the string "inf"; a value that
does not exist is null in JSON and an empty cell in CSV. Accuracies are fractions in every one but the columns for
people, whose differences are percentage points.
"""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from grng.report.columns import Column, display_columns
from grng.report.row import FIELDS
from grng.report.sentences import sentences
from grng.report.tables import Table
from grng.report.tuning_tables import curve_columns, curve_remarks, tuning_as_dict, value_columns

SCHEMA_VERSION = 1


def to_dict(table: Table) -> dict[str, Any]:
    """Return the table as plain values that any JSON writer takes."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": table.model,
        "dataset": table.dataset,
        "reference": table.reference,
        "target": table.target,
        "margin": table.margin,
        "interval": table.interval,
        "seeds": list(table.seeds),
        "workers": table.workers,
        "machines": list(table.machines),
        "rows": [
            {
                "label": row.label,
                "is_reference": row.is_reference,
                "verdict": row.verdict,
                "time_mark": row.time_mark,
                **{name: _plain(value) for name, value in row.numbers.items()},
            }
            for row in table.rows
        ],
        "sentences": sentences(table),
        "warnings": list(table.warnings),
        "notes": list(table.notes),
        **tuning_as_dict(table),
    }


def _plain(value: float | None) -> float | str | None:
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def to_json(table: Table) -> str:
    """Return the table as one JSON document."""
    return json.dumps(to_dict(table), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(table: Table) -> str:
    """Return one line a row under a line of names: label, verdict, then every field of `FIELDS`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["label", "is_reference", "verdict", *FIELDS])
    for row in table.rows:
        values = ["" if (plain := _plain(value)) is None else plain for value in row.numbers.values()]
        writer.writerow([row.label, str(row.is_reference).lower(), row.verdict, *values])
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """Return a table as GitHub shows it, then the quotable lines, warnings and notes as lists."""
    warnings = [f"**Warning:** {markdown_text(warning)}" for warning in table.warnings]
    below = [_list(sentences(table)), "".join(f"- {warning}\n" for warning in warnings), _list(table.notes)]
    tuned = [_bars(value_columns(table))] if table.tuning else []
    curves = [markdown_table(curve_columns(table), curve_remarks(table))] if table.curves else []
    return "\n".join([_bars(display_columns(table)), *filter(None, below), *tuned, *curves])


def markdown_table(columns: Sequence[Column], remarks: Sequence[str]) -> str:
    """Return any columns as GitHub shows them, with `remarks` as a list below."""
    return "\n".join(filter(None, [_bars(columns), _list(remarks)]))


def _bars(columns: Sequence[Column]) -> str:
    rules = ["---" if column.justify == "left" else "---:" for column in columns]
    lines = [_bar([markdown_text(column.title) for column in columns]), _bar(rules)]
    lines += [
        _bar(list(map(markdown_text, cells))) for cells in zip(*(column.cells for column in columns), strict=True)
    ]
    return "".join(f"{line}\n" for line in lines)


def _list(texts: Sequence[str]) -> str:
    return "".join(f"- {markdown_text(text)}\n" for text in texts)


def _bar(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown_text(text: str) -> str:
    """Keep `|` from ending a cell, `*` and `_` from becoming emphasis, `<` from beginning a tag."""
    for character in "\\|*_<":
        text = text.replace(character, "\\" + character)
    return text


def to_plain(table: Table) -> str:
    """Return the columns as aligned text for pipes and logs."""
    columns = display_columns(table)
    widths = [max(map(_width, (column.title, *column.cells))) for column in columns]
    lines = [_aligned(columns, widths, [column.title for column in columns])]
    lines.append("  ".join("─" * width for width in widths))
    lines += [
        _aligned(columns, widths, [column.cells[index] for column in columns]) for index in range(len(table.rows))
    ]
    return "\n".join(lines) + "\n"


def _aligned(columns: list[Column], widths: list[int], cells: list[str]) -> str:
    padded = []
    for column, width, cell in zip(columns, widths, cells, strict=True):
        space = " " * (width - _width(cell))
        padded.append(cell + space if column.justify == "left" else space + cell)
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """Return how many terminal cells `text` takes."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
