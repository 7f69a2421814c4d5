"""The table of all runs that moves on a terminal while an experiment is at work.

All runs where they fit on the screen; else those under way. Below them counts for each state, and how far all are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from grng_cli.live.run_board import STATES, Board, Row
from grng_cli.wording import fraction, scalar, seconds

if TYPE_CHECKING:
    from grng_cli.output import Output

REFRESHES = 4
"""At most so many times a second is it drawn anew."""

WIDE = 110
"""Columns from which on there is room for the loss."""

_BAR = 8
_STATE = 9
_STEPS = 11
_ACCURACY = 8
_LEFT = 12
_LOSS = 8
_GAP = 2
_BELOW = 5
"""Lines that are no runs: the heading, the counts in up to two, all together, and the cursor's."""

_SEED = re.compile(r" seed \d+$")

_STYLES = {
    "running": "cyan",
    "elsewhere": "magenta",
    "finished": "green",
    "pruned": "yellow",
    "diverged": "yellow",
    "failed": "red",
}


class LiveTable(AbstractContextManager["LiveTable"]):
    """Shows a board on a terminal while it is a context; elsewhere it does nothing.

    Args:
        output: Of the command.
        board: What is shown; changed by whoever holds it.
    """

    def __init__(self, output: Output, board: Board) -> None:
        self._board = board
        self._live = (
            Live(
                _Screen(board),
                console=output.stderr,
                refresh_per_second=REFRESHES,
                transient=True,
            )
            if output.live
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def refresh(self) -> None:
        """Draw it now."""
        if self._live is not None:
            self._live.refresh()


class _Screen:
    """The board as it is whenever it is drawn, in the size that the terminal then has."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._board.lock:
            shown = render(self._board, options.max_width, console.size.height)
        yield shown


def render(board: Board, width: int, height: int) -> Group:
    """Return what rich prints as the board on a screen of `width` cells and `height` lines."""
    room = max(1, height - _BELOW)
    every = len(board.rows) == board.total <= room
    shown = list(board.rows.values()) if every else list(board.under_way.values())
    left_out = len(shown) - room
    if left_out > 0:
        shown = shown[: room - 1]
    parts: list[Table | Text] = [_table(board, shown, width)] if shown else []
    if left_out > 0:
        parts.append(Text(f"and {left_out + 1} more under way"))
    return Group(*parts, Text(_counts(board)), _all(board, width))


def _table(board: Board, rows: Sequence[Row], width: int) -> Table:
    wide = width >= WIDE
    cells = [_STATE, _BAR, _STEPS, *([_LOSS] if wide else []), _ACCURACY, _LEFT]
    name = max(8, width - sum(cells) - _GAP * len(cells))
    name = min(name, max(12, *(cell_len(row.name) for row in rows)))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    table.add_column("run", width=name, no_wrap=True, overflow="ellipsis")
    table.add_column("state", width=_STATE, no_wrap=True)
    table.add_column("", width=_BAR, no_wrap=True)
    table.add_column("steps", width=_STEPS, no_wrap=True)
    if wide:
        table.add_column("loss", width=_LOSS, no_wrap=True, justify="right")
    table.add_column("val.acc.", width=_ACCURACY, no_wrap=True, justify="right")
    table.add_column("left", width=_LEFT, no_wrap=True)
    for row in rows:
        table.add_row(
            Text(_shortened(row.name, name)),  # brackets are no markup
            Text(row.state, style=_STYLES.get(row.state, "dim")),
            ProgressBar(row.steps or 1, row.step, width=_BAR) if row.state == "running" else "",
            _steps(row),
            *(["" if row.loss is None else scalar(row.loss)] if wide else []),
            "" if row.accuracy is None else fraction(row.accuracy),
            _left(board, row),
        )
    return table


def _shortened(name: str, width: int) -> str:
    """Return a name in `width` cells: what is cut off is not the seed, which tells the runs of a row apart."""
    seed = _SEED.search(name)
    tail = seed.group() if seed else ""
    return name if cell_len(name) <= width else set_cell_size(name, width - len(tail) - 1) + "…" + tail


def _steps(row: Row) -> str:
    if row.state in ("waiting", "elsewhere") and not row.step:
        return ""
    return f"{row.step}/{row.steps}" if row.steps and not row.ended else str(row.step)


def _left(board: Board, row: Row) -> str:
    if row.state == "running":
        left = board.left(row)
        return "" if left is None else seconds(left)
    return "reused" if row.reused else ""


def _counts(board: Board) -> str:
    parts = []
    for state in STATES:
        count = board.counts[state] + (board.total - len(board.rows) if state == "waiting" else 0)
        if count:
            best = f" (best {fraction(board.best)})" if state == "finished" and board.best is not None else ""
            parts.append(f"{count} {state}{best}")
    return ", ".join(parts)


def _all(board: Board, width: int) -> Table:
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(width=_BAR, no_wrap=True)
    table.add_column(no_wrap=True, max_width=max(8, width - _BAR - 3 - 2 * _GAP), overflow="ellipsis")
    left = board.all_left()
    rest = "" if left is None else f", about {seconds(left)} left"
    table.add_row(
        "all", ProgressBar(max(1, board.total), board.ended, width=_BAR), f"{board.ended}/{board.total} runs{rest}"
    )
    return table
