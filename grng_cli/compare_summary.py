"""What `grng compare` and `grng report` end with: the table, lines to quote, caveats, expectations, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from grng.runs.files import atomic_write_text
from grng_cli.output import Output
from grng_cli.wording import command

if TYPE_CHECKING:
    from grng.experiments.expectations import Expectation, Outcome
    from grng.report.columns import Column
    from grng.report.tables import Table

EXPECTATION_FAILED = 4
RUN_FAILED = 1


def show(
    table: Table,
    expectations: Sequence[Expectation],
    printer: Output,
    *,
    directories: Sequence[Path],
    markdown: Path | None,
    csv: Path | None,
) -> int:
    """Print a table with all that belongs to it, write the files asked for, and return the exit code.

    Args:
        table: What was measured.
        expectations: What should hold of it.
        printer: Of the command.
        directories: Where the runs are.
        markdown: A file to write, or None.
        csv: A file to write, or None.

    Raises:
        RunDirectoryError: A file cannot be written.
    """
    from grng.report.export import to_csv, to_dict, to_markdown
    from grng.report.sentences import sentences

    outcomes = [expectation.evaluate(table) for expectation in expectations]
    if printer.json_only:
        printer.document({**to_dict(table), **_as_json(directories, outcomes)})
    else:
        printer.essential(_rich(table, printer))
        printer.data(_paragraph("", sentences(table)))
        for warning in table.warnings:
            printer.warning(warning)
        printer.data(_paragraph("note: ", table.notes))
        _print_outcomes(outcomes, printer)
        for directory in directories:
            printer.data(f"results:      {directory}")
            printer.data(f"TensorBoard:  {command('tensorboard', '--logdir', directory)}")
    for path, text in ((markdown, to_markdown), (csv, to_csv)):
        if path is not None:
            atomic_write_text(path, text(table))
            printer.chatter(f"wrote {path}")
    if any(row.failed for row in table.rows):
        return RUN_FAILED
    return 0 if all(outcome.holds for outcome in outcomes) else EXPECTATION_FAILED


def _as_json(directories: Sequence[Path], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "directories": [str(directory) for directory in directories],
        "expectations": [
            {"text": one.text, "holds": one.holds, "values": _finite(one.values), "explanation": one.explanation}
            for one in outcomes
        ],
    }


def _finite(values: Any) -> dict[str, float | str | None]:
    # JSON has no infinity; the table's own document writes it as text too.
    return {key: str(value) if value in (float("inf"), float("-inf")) else value for key, value in values.items()}


def _print_outcomes(outcomes: Sequence[Outcome], printer: Output) -> None:
    for outcome in outcomes:
        line = Text("expected: ", style="bold")
        line.append(outcome.text, style="not bold")
        line.append("  holds" if outcome.holds else "  DOES NOT HOLD", style="green" if outcome.holds else "red bold")
        line.append(f"\n  {outcome.explanation}", style="not bold default")
        printer.essential(line)


def _paragraph(prefix: str, lines: Sequence[str]) -> str:
    return "".join(f"{prefix}{line}\n" for line in lines)


def _rich(table: Table, printer: Output) -> Any:
    """Return the table for this terminal: in one piece if it fits, else group by group."""
    from rich.console import Group

    from grng.report.columns import display_columns

    columns = display_columns(table)
    whole = _table_of(columns)
    console = printer.stdout
    if console.measure(whole).maximum <= console.width:
        return whole
    groups = dict.fromkeys(column.group for column in columns if column.group)
    return Group(*(_table_of([c for c in columns if c.group in (None, group)], narrow=True) for group in groups))


def _table_of(columns: Sequence[Column], *, narrow: bool = False) -> RichTable:
    """Return the columns as a table; in a narrow one headings and words wrap, numbers stay in one piece."""
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        words = narrow and column.justify == "left" and index > 0
        table.add_column(
            Text(column.title),
            justify=column.justify,
            style="bold" if index == 0 else "",
            no_wrap=not narrow,
            min_width=None if words else max(map(len, column.cells), default=0),
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    return table
