"""How a table that is wider than the terminal is laid out: in blocks below each other, each with the rows' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grng.report.columns import Column

GAP = 2
"""Cells between two columns."""

_WORDS_WIDTH = 34
_HEADING_WORD_WIDTH = 14


def blocks(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Return the columns but the first in as few blocks as fit, groups kept whole where that costs no block.

    Args:
        columns: The first names the rows: it stands in every block, so that its width is taken off.
        width: Cells of a line.
    """
    first, *rest = columns
    room = width - label_width(first, width)
    # The best way to lay out the first n columns: (blocks, groups torn apart), and where its last block begins.
    best: list[tuple[tuple[int, int], int]] = [((0, 0), 0)]
    for end in range(1, len(rest) + 1):
        ways = []
        for begin in range(end - 1, -1, -1):
            if begin < end - 1 and sum(GAP + column_width(column) for column in rest[begin:end]) > room:
                break
            (count, torn), _ = best[begin]
            tears = begin > 0 and rest[begin - 1].group == rest[begin].group
            ways.append(((count + 1, torn + tears), begin))
        best.append(min(ways, key=lambda way: (way[0], -way[1])))  # of equals, the one with the fuller blocks above
    laid_out: list[list[Column]] = []
    end = len(rest)
    while end > 0:
        begin = best[end][1]
        laid_out.insert(0, [first, *rest[begin:end]])
        end = begin
    return laid_out


def label_width(column: Column, width: int) -> int:
    """Return the cells of the column that names the rows; long names are folded."""
    longest = max(map(_cells, (column.title, *column.cells)))
    return min(longest, max(20, width // 3))


def column_width(column: Column) -> int:
    """Return the cells of a column: its numbers stay in one piece, its words and its heading wrap."""
    longest_word = min(max(map(_cells, column.title.split())), _HEADING_WORD_WIDTH)
    longest_cell = max(map(_cells, column.cells), default=0)
    if column.justify == "left":
        longest_cell = min(longest_cell, _WORDS_WIDTH)
    return max(longest_word, longest_cell)


def render(columns: Sequence[Column], width: int) -> Any:
    """Return what rich prints as the table of `columns` on lines of `width` cells."""
    from rich.console import Group

    parts: list[Any] = []
    for block in blocks(columns, width):
        parts += ["", _table(block, width)]
    return Group(*parts[1:])


def _table(columns: Sequence[Column], width: int) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(
            Text(column.title),
            justify=column.justify,
            style="bold" if index == 0 else "",
            width=label_width(column, width) if index == 0 else column_width(column),
            overflow="fold",
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
