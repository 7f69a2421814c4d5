"""A comparison or a sweep as the small piece of HTML that a notebook shows for it; every text in it is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from grng.report.columns import Column, display_columns
from grng.report.tables import Table

_GROUPS = (None, "accuracy", "target")
_CELL = "padding:2px 10px;text-align:"


def table_html(table: Table, *, title: str) -> str:
    """Return a table with its verdicts, and what must be said about it below.

    Args:
        table: What was measured.
        title: What is written above it.
    """
    columns = [column for column in display_columns(table) if column.group in _GROUPS]
    warnings = [f"<b>Warning:</b> {html.escape(warning)}" for warning in table.warnings]
    return "".join(
        [
            f"<p><b>{html.escape(title)}</b></p>",
            columns_html(columns),
            *(f"<p>{warning}</p>" for warning in warnings),
            *(f"<p><small>{html.escape(note)}</small></p>" for note in table.notes),
        ]
    )


def columns_html(columns: Sequence[Column]) -> str:
    """Return columns as a table; their cells have been written out for people already."""
    head = "".join(f'<th style="{_CELL}{one.justify}">{html.escape(one.title)}</th>' for one in columns)
    rows = []
    for cells in zip(*(one.cells for one in columns), strict=True):
        places = zip(columns, cells, strict=True)
        row = "".join(f'<td style="{_CELL}{one.justify}">{html.escape(text)}</td>' for one, text in places)
        rows.append(f"<tr>{row}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def title_of(table: Table) -> str:
    """Return what a table is about, in words."""
    seeds = ", ".join(map(str, table.seeds))
    return f"{table.model} on {table.dataset}, seeds {seeds}" if table.model else "no run has ended"
