"""A table as columns of text: the one place where numbers are written out for people."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from grng.report.asked import heading
from grng.report.row import Row
from grng.report.tables import Table

NOTHING = "–"
Group = Literal["accuracy", "loss", "target", "cost", "asked"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        title: Its heading; units in it.
        justify: Where its cells stand.
        cells: One a row of the table, in its order.
        group: What it is about, so that a narrow terminal can show the groups one below the other; None for the label,
            which every group needs.
    """

    title: str
    justify: Literal["left", "right"]
    cells: tuple[str, ...]
    group: Group | None


def number(value: float | None, digits: int = 3) -> str:
    """Return `value` with so many significant digits and no exponent from 0.001 to 999,999; "∞" for infinity."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def fixed(value: float | None, decimals: int = 3) -> str:
    """Return `value` with so many decimals."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def interval(mean: float | None, low: float | None, high: float | None, decimals: int = 3) -> str:
    """Return "0.975 [0.962, 0.988]", or the mean alone when it has no interval."""
    if low is None or high is None:
        return fixed(mean, decimals)
    # With two or three seeds the ends of a ratio's interval can be anything: hundreds of digits would help nobody.
    ends = [fixed(end, decimals) if abs(end) < 1000 else number(end) for end in (low, high)]
    return f"{fixed(mean, decimals)} [{ends[0]}, {ends[1]}]"


def points(row: Row) -> str:
    """Return the difference in percentage points: "+0.4 [-0.1, +0.9]"."""
    if row.difference is None:
        return NOTHING
    mean = f"{_signed(row.difference)}"
    if row.difference_low is None or row.difference_high is None:
        return mean
    return f"{mean} [{_signed(row.difference_low)}, {_signed(row.difference_high)}]"


def _signed(fraction: float) -> str:
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def runs(row: Row) -> str:
    """Return how many runs finished and what became of the others: "2, 1 diverged"."""
    others = (("diverged", row.diverged), ("failed", row.failed), ("unfinished", row.unfinished))
    return ", ".join([str(row.n), *(f"{count} {what}" for what, count in others if count)])


def to_target(row: Row, value: float | None, *, timed: bool = False) -> str:
    """Return a median to the target, with "(2/3)" when not all runs reached it; "∞ (0/3)"."""
    if not row.target_runs:
        return NOTHING
    text = number(value) if timed or value is None or not math.isfinite(value) else f"{value:.0f}"
    count = "" if row.reached == row.target_runs or value is None else f" ({row.reached}/{row.target_runs})"
    return text + count + (_star(row) if timed and value is not None else "")


def _star(row: Row) -> str:
    return "*" if row.time_mark else ""


def _timed(row: Row, text: str) -> str:
    return text if text == NOTHING else text + _star(row)


def _asked(name: str, row: Row) -> str:
    """Return the cell of a field that was asked for, with its interval where the row has one."""
    numbers = row.numbers
    low, high = numbers.get(f"{name}_low"), numbers.get(f"{name}_high")
    ends = "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
    return number(numbers[name]) + ends


def display_columns(table: Table) -> list[Column]:
    """Return the table's columns, formatted; "*" marks times that cannot be compared (see `Table.warnings`)."""

    def column(title: str, group: Group | None, cell: Callable[[Row], str], *, left: bool = False) -> Column:
        return Column(title, "left" if left else "right", tuple(cell(row) for row in table.rows), group)

    against = f"against {table.reference}"
    target = "target" if table.target is None else f"{table.target:g} val. accuracy"
    columns = [
        column("optimizer", None, lambda r: r.label, left=True),
        column("runs", "accuracy", runs, left=True),
        column(
            "test accuracy", "accuracy", lambda r: interval(r.test_accuracy, r.test_accuracy_low, r.test_accuracy_high)
        ),
        column(f"{against}, points", "accuracy", lambda r: "reference" if r.is_reference else points(r)),
        column(
            "p (Holm)", "accuracy", lambda r: NOTHING if r.p_value is None else f"{r.p_value:.2g} ({r.p_adjusted:.2g})"
        ),
        column("verdict", "accuracy", lambda r: r.verdict, left=True),
        column("test loss", "loss", lambda r: interval(r.test_loss, r.test_loss_low, r.test_loss_high)),
        column("train loss", "loss", lambda r: interval(r.train_loss, r.train_loss_low, r.train_loss_high)),
        column("val. accuracy", "loss", lambda r: interval(r.val_accuracy, r.val_accuracy_low, r.val_accuracy_high)),
        column(f"steps to {target}", "target", lambda r: to_target(r, r.steps_to_target)),
        column("time to it, s", "target", lambda r: to_target(r, r.time_to_target, timed=True)),
        column("step, ms", "cost", lambda r: _timed(r, number(r.step_ms))),
        column(
            f"step / {table.reference}",
            "cost",
            lambda r: _timed(r, NOTHING if r.step_ratio is None else f"{r.step_ratio:.2f} ×"),
        ),
        column("training, s", "cost", lambda r: _timed(r, number(r.train_time_s))),
        column("total, s", "cost", lambda r: _timed(r, number(r.total_time_s))),
        column("memory growth, MB", "cost", lambda r: number(r.memory_growth_mb)),
        column("state, B/parameter", "cost", lambda r: number(r.state_bytes_per_parameter, 2)),
    ]
    columns += [column(heading(name), "asked", partial(_asked, name)) for name in table.columns]
    # A row alone is its own reference: comparing it says nothing.
    alone = (
        {f"{against}, points", "p (Holm)", "verdict", f"step / {table.reference}"} if len(table.rows) == 1 else set()
    )
    return [one for one in columns if one.title not in alone]
