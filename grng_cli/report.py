"""`grng report`: the table of a comparison, from its run directories alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grng_cli.options import common as options
from grng_cli.options import diagnostics as diagnostics_options
from grng_cli.options import report as report_options
from grng_cli.options import statistics as statistics_options
from grng_cli.options import terminal as terminal_options
from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.report.workloads import Workloads


def report(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR…", help="Experiment or run directories, or folders of them.")
    ],
    reference: options.Reference = None,
    expect: options.Expect = None,
    columns: diagnostics_options.Columns = None,
    claim: statistics_options.Claim = None,
    margin: statistics_options.Margin = None,
    interval: statistics_options.Interval = None,
    format_: report_options.Format = None,
    output: report_options.OutputFile = None,
    markdown: options.Markdown = None,
    csv: options.Csv = None,
    plot: terminal_options.Plot = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the table of runs that are there already; of several models or data sets, one of each and one over all.

    --format html writes a page with figures, also of sweeps, and of experiments that still run.
    """
    from grng.errors import GrngError
    from grng.experiments.claims.expectations import parse
    from grng.experiments.claims.verdicts import judge_claims
    from grng.experiments.questions import questions_of
    from grng.report.asked import check_columns, parse_columns
    from grng.report.tables import summarise
    from grng.report.workloads import load_workloads
    from grng_cli.live.reading_progress import reading
    from grng_cli.report_formats import format_of
    from grng_cli.report_page import write_format
    from grng_cli.summaries.compare import check_files, show
    from grng_cli.summaries.overview import refresh_boards

    printer = Output(json_only=json, quiet=quiet)
    check_files(markdown, csv)
    shown = parse_columns(columns) if columns else []
    check_columns(shown)
    kind = format_of(format_, output)
    if kind is not None:
        others = (("--json", json), ("--markdown", markdown), ("--csv", csv), ("--plot", plot))
        other = next((flag for flag, given in others if given), None)
        if other:
            raise GrngError(f"excludes {other}; give one.", where="--output" if format_ is None else "--format")
        code = write_format(
            kind,
            output,
            directories,
            printer,
            reference=reference,
            expect=expect or (),
            columns=shown,
            claims=claim or (),
            margin=margin,
            interval=interval,
        )
        raise typer.Exit(code)
    with reading(printer) as on_read:
        workloads = load_workloads(directories, reference=reference, on_read=on_read)
    expectations = [parse(text, workloads.labels) for text in expect or ()]
    asked = questions_of(workloads.labels, workloads.runs, claims=claim or (), margin=margin, interval=interval)
    for warning in asked.warnings:
        printer.warning(warning)
    refresh_boards([run.root for run in workloads.runs], printer)
    if workloads.several:
        from grng_cli.summaries.workloads import show_workloads

        code = show_workloads(
            workloads,
            expectations,
            printer,
            claims=asked.claims,
            columns=shown,
            margin=asked.margin,
            interval=asked.interval,
            directories=directories,
            markdown=markdown,
            csv=csv,
        )
        _plot(workloads, printer, asked=plot)
        raise typer.Exit(code)
    (experiment,) = workloads.each.values()
    table = summarise(experiment, columns=shown, margin=asked.margin, interval=asked.interval)
    claims = judge_claims(asked.claims, experiment)
    code = show(table, expectations, printer, claims=claims, directories=directories, markdown=markdown, csv=csv)
    _plot(workloads, printer, asked=plot)
    raise typer.Exit(code)


def _plot(workloads: Workloads, printer: Output, *, asked: bool) -> None:
    """Draw the curves where that was asked for."""
    if asked:
        from grng_cli.plots import plot_workloads

        plot_workloads(workloads, printer)
