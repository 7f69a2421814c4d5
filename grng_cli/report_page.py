"""The report as one HTML page: what is in the directories, read and handed to `grng.report.html`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from grng_cli.messages import debugging
from grng_cli.output import Output
from grng_cli.report_formats import PAGE, Loaded, document, load, place_of, written
from grng_cli.wording import command

if TYPE_CHECKING:
    from grng.report.html.blocks import Grid, Prose

MANY = 1000
"""Runs of which more have no page at a command's end, where reading them once more would take as long as the rest."""


def page(loaded: Loaded | None, sweeps: Sequence[Path], directories: Sequence[Path]) -> str:
    """Return the page.

    Args:
        loaded: The runs; None where there are sweeps alone.
        sweeps: Directories of sweeps.
        directories: What the report was asked of, all of them.

    Raises:
        GrngError: A sweep cannot be read.
    """
    from grng.report.html.content import Content, Part
    from grng.report.html.page import render
    from grng.report.html.sweeps import read_sweep

    found = [read_sweep(path) for path in sweeps]
    titles = [one.name for one in found]
    if loaded is None:
        content = Content(sweeps=found)
    else:
        names = {name: _name(loaded, name) for name in loaded.tables}
        titles = [*names.values(), *titles]
        content = Content(
            parts=[Part(names[name], loaded.workloads.each[name], table) for name, table in loaded.tables.items()],
            overall=loaded.overall,
            sweeps=found,
            claims=_claims(loaded),
            warnings=[*loaded.workloads.warnings, *loaded.warnings],
            document=json.dumps(document(loaded), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        )
    title = titles[0] if len(titles) == 1 else f"{len(titles)} workloads" if not found else ", ".join(titles[:4])
    return render(content, title=title, directories=directories)


def _name(loaded: Loaded, name: str) -> str:
    """Return what a workload is called: alone, by its model and data set."""
    table = loaded.tables[name]
    return name if len(loaded.tables) > 1 or table.model is None else f"{table.model} on {table.dataset}"


def _claims(loaded: Loaded) -> list[Grid | Prose]:
    from grng.experiments.claims.report import claim_columns, claim_remarks
    from grng.experiments.claims.workloads import detail_columns, verdict_columns, workload_claim_remarks
    from grng.report.html.blocks import Prose, grid_of

    if not loaded.has_claims:
        return []
    if loaded.overall is not None:
        return [
            grid_of("What is claimed, on all workloads", verdict_columns(loaded.judged)),
            grid_of("In numbers", detail_columns(loaded.judged)),
            Prose(tuple(workload_claim_remarks(loaded.judged)), "note"),
        ]
    (judged,) = loaded.judged.values()
    return [grid_of("What is claimed", claim_columns(judged)), Prose(tuple(claim_remarks(judged)), "note")]


def split_sweeps(directories: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the directories of sweeps, and the others."""
    from grng.report.html.sweeps import is_sweep

    sweeps = [path for path in directories if is_sweep(path)]
    return sweeps, [path for path in directories if path not in sweeps]


def write_at_end(directory: Path, printer: Output, *, columns: Sequence[str] = ()) -> None:
    """Write the page beside the results of a command; whatever goes wrong with it, the results are there.

    Args:
        directory: Of the experiment or sweep.
        printer: Of the command.
        columns: Further columns of its table.
    """
    from grng.runs.files import atomic_write_text

    again = command("grng", "report", directory, "--format", "html")
    runs = (run for pattern in ("*/seed*", "*/*/seed*") for run in directory.glob(pattern))
    if next(islice(runs, MANY, None), None) is not None:
        printer.chatter(f"report: more than {MANY} runs; for the page: {again}")
        return
    try:
        sweeps, others = split_sweeps([directory])
        loaded = load(others, columns=columns) if others else None
        text, place = page(loaded, sweeps, [directory]), directory / PAGE
        if not place.is_file() or place.read_text(encoding="utf-8") != text:  # nothing new leaves it untouched
            atomic_write_text(place, text)
    except Exception as error:
        if debugging():
            raise
        printer.warning(f"{PAGE} was not written: {error}\n  try again with: {again}")
        return
    printer.chatter(f"report: {directory / PAGE}")


def write_format(
    kind: str,
    output: Path | None,
    directories: Sequence[Path],
    printer: Output,
    *,
    reference: str | None,
    expect: Sequence[str],
    columns: Sequence[str],
    claims: Sequence[str],
    margin: float | None,
    interval: str | None,
) -> int:
    """Write the report in one of the formats, to a file or stdout, and return the exit code.

    Raises:
        GrngError: A directory holds no run, something asked for does not fit the runs, or the file cannot be written.
    """
    from grng.runs.files import atomic_write_text
    from grng_cli.summaries.compare import check_files

    place = place_of(kind, output, directories)
    check_files(place)
    sweeps, others = split_sweeps(directories) if kind == "html" else ([], directories)
    loaded = None
    if others:
        loaded = load(
            others,
            reference=reference,
            expect=expect,
            columns=columns,
            claims=claims,
            margin=margin,
            interval=interval,
        )
        for warning in loaded.warnings:
            printer.warning(warning)
    text = page(loaded, sweeps, directories) if kind == "html" else written(_there(loaded), kind)
    if place is None:
        printer.text(text)
    else:
        atomic_write_text(place, text)
        printer.chatter(f"wrote {place}")
    if loaded is None:
        return 0
    for outcome in (one for of_one in loaded.outcomes.values() for one in of_one if not one.holds):
        printer.warning(f"expected: {outcome.text}: does not hold: {outcome.explanation}")
    return loaded.exit_code


def _there(loaded: Loaded | None) -> Loaded:
    assert loaded is not None, "only a page is made of sweeps alone"
    return loaded
