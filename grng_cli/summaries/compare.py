"""What `grng compare` and `grng report` end with: the table, lines to quote, caveats, expectations, files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from grng.errors import RunDirectoryError
from grng.runs.files import atomic_write_text
from grng_cli.layout import render
from grng_cli.output import Output
from grng_cli.wording import command

if TYPE_CHECKING:
    from grng.experiments.claims.expectations import Expectation, Outcome
    from grng.experiments.claims.verdicts import JudgedClaim
    from grng.report.tables import Table

EXPECTATION_FAILED = 4
RUN_FAILED = 1


def check_files(*paths: Path | None) -> None:
    """Refuse files that cannot be written when the runs are done, before the runs begin.

    Raises:
        RunDirectoryError: A path is a directory, or is in one that does not exist or is not writable.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise RunDirectoryError("is a directory, not a file.", where=str(path), hint="Add the file's name.")
        if not path.absolute().parent.is_dir():
            raise RunDirectoryError("is in a directory that does not exist.", where=str(path), hint="Make it first.")
        if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            raise RunDirectoryError("is not writable.", where=str(path), hint="Choose another file.")


def show(
    table: Table,
    expectations: Sequence[Expectation],
    printer: Output,
    *,
    claims: Sequence[JudgedClaim] = (),
    directories: Sequence[Path],
    markdown: Path | None,
    csv: Path | None,
) -> int:
    """Print a table with all that belongs to it, write the files asked for, and return the exit code.

    Args:
        table: What was measured.
        expectations: What should hold of it.
        printer: Of the command.
        claims: What came of the claims.
        directories: Where the runs are.
        markdown: A file to write, or None.
        csv: A file to write, or None.

    Raises:
        RunDirectoryError: A file cannot be written.
    """
    from grng.experiments.claims.report import claims_markdown
    from grng.report.export import to_csv, to_markdown

    outcomes = [expectation.evaluate(table) for expectation in expectations]
    if printer.json_only:
        printer.document(table_document(table, claims, directories, outcomes))
    else:
        print_table(table, printer)
        _print_claims(claims, printer)
        print_outcomes(outcomes, printer)
        print_directories(directories, printer)

    def as_markdown(table: Table) -> str:
        return "\n".join([to_markdown(table), claims_markdown(claims)] if claims else [to_markdown(table)])

    for path, text in ((markdown, as_markdown), (csv, to_csv)):
        if path is not None:
            atomic_write_text(path, text(table))
            printer.chatter(f"wrote {path}")
    return exit_code([table], outcomes)


def exit_code(tables: Sequence[Table], outcomes: Sequence[Outcome]) -> int:
    """Return what tables and expectations come to."""
    if any(row.failed for table in tables for row in table.rows):
        return RUN_FAILED
    return 0 if all(outcome.holds for outcome in outcomes) else EXPECTATION_FAILED


def print_table(table: Table, printer: Output, *, name: str | None = None) -> None:
    """Print a table with title, sentences, warnings and notes.

    Args:
        table: What was measured.
        printer: Of the command.
        name: Of the workload, where there are several.
    """
    from grng.report.columns import display_columns
    from grng.report.sentences import sentences
    from grng_cli.summaries.tuning import print_tuning

    (printer.data if name is None else printer.essential)(_title(table, name))
    printer.data()
    printer.essential(render(display_columns(table), printer.table_width))
    printer.data()
    for sentence in sentences(table):
        printer.prose(sentence)
    printer.data()
    for warning in table.warnings:
        printer.warning(warning if name is None else f"{name}: {warning}")
    for note in table.notes:
        printer.prose(f"note: {note}")
    print_tuning(table, printer)


def print_directories(directories: Sequence[Path], printer: Output) -> None:
    """Say where the results are."""
    printer.data()
    for directory in directories:
        printer.data(f"results:      {directory}")
        printer.data(f"TensorBoard:  {command('tensorboard', '--logdir', directory)}")


def _title(table: Table, name: str | None) -> str:
    seeds = ", ".join(map(str, table.seeds))
    what = f"{table.model or 'no result'} on {table.dataset or 'any data'}"
    named = f"{name}: " if name not in (None, what) else ""
    return f"{named}{what}, seed{'s' * (len(table.seeds) > 1)} {seeds}"


def table_document(
    table: Table, claims: Sequence[JudgedClaim], directories: Sequence[Path], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Return the JSON document of a table with all that belongs to it."""
    from grng.experiments.claims.report import claims_as_dicts
    from grng.report.export import to_dict

    return {
        **to_dict(table),
        "claims": claims_as_dicts(claims),
        "directories": [str(directory) for directory in directories],
        "expectations": [
            {"text": one.text, "holds": one.holds, "values": _finite(one.values), "explanation": one.explanation}
            for one in outcomes
        ],
    }


def _finite(values: Any) -> dict[str, float | str | None]:
    # JSON has no infinity; the table's own document writes it as text too.
    return {key: str(value) if value in (float("inf"), float("-inf")) else value for key, value in values.items()}


def _print_claims(claims: Sequence[JudgedClaim], printer: Output) -> None:
    from grng.experiments.claims.report import claim_columns, claim_remarks

    if not claims:
        return
    printer.data()
    printer.essential(render(claim_columns(claims), printer.table_width))
    printer.data()
    for remark in claim_remarks(claims):
        printer.prose(f"note: {remark}")


def print_outcomes(outcomes: Sequence[Outcome], printer: Output) -> None:
    """Print whether expectations hold, and the values."""
    for outcome in outcomes:
        line = Text("expected: ", style="bold")
        line.append(outcome.text, style="not bold")
        line.append("  holds" if outcome.holds else "  DOES NOT HOLD", style="green" if outcome.holds else "red bold")
        line.append(f"\n  {outcome.explanation}", style="not bold default")
        printer.essential(line)
