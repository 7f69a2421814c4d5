"""What `grng replay` says of a run and its replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from grng_cli.output import Output
from grng_cli.printable import printable

if TYPE_CHECKING:
    from grng.report.replayed import Difference, Replayed, Score


def show(outcome: Replayed, printer: Output) -> None:
    """Print what came of a replay."""
    name = f"{outcome.label}, seed {outcome.seed}"
    printer.sentence(f"{name}: {verdict(outcome)}")
    if outcome.first is not None:
        printer.prose(f"first difference: {_first(outcome.first)}")
    if outcome.missing:
        printer.prose(f"lines of metrics that one of the two has alone: {outcome.missing}")
    if outcome.scores and not outcome.identical:
        printer.data()
        printer.data(_table(outcome.scores))
        printer.data()
    for change in outcome.changes:
        values = f"{change.original or 'unknown'}, now {change.replay or 'unknown'}"
        printer.prose(printable(f"not the same: {change.name} {values}. It is {change.why}."))
    for reason in outcome.reasons:
        printer.prose(f"note: {reason}")
    printer.data(f"original:     {outcome.original}\nreplay:       {outcome.replay}")


def verdict(outcome: Replayed) -> str:
    """Return in a line what came of a replay."""
    what = f"{outcome.lines} lines of metrics" + (" and all scores" if outcome.scores else "")
    if not outcome.complete:
        what += ", as far as the original got"
    if outcome.identical and outcome.lines:
        return f"equal bit for bit ({what})"
    if not outcome.lines and not outcome.scores:
        return "nothing to compare: the original holds no metrics yet"
    if outcome.agrees:
        return "equal in the digits that tables show, not in all"
    cause = "code, versions or machine are not" if outcome.changes else "code, versions and machine are"
    return f"DIFFERENT in the digits that tables show; {cause} the same"


def _first(first: Difference) -> str:
    digits = "" if first.digits is None else f" ({first.digits} digits agree)"
    where = f"step {first.step}" if first.kind == "step" else f"step {first.step}, end of an epoch"
    return printable(f"{where}, {first.key}: {_exact(first.original)}, now {_exact(first.replay)}{digits}")


def _table(scores: tuple[Score, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("score", "original", "replay", "digits that agree"):
        table.add_column(name, justify="left" if name == "score" else "right")
    for score in scores:
        digits = "all" if score.digits is None else f"{score.digits}{'' if score.as_shown else ' !'}"
        table.add_row(Text(score.name), Text(_exact(score.original)), Text(_exact(score.replay)), Text(digits))
    return table


def _exact(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return "-" if value is None else str(value)
