"""What `grng compare` prints once its runs are done: read from their directories, as `grng report` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.experiments.workloads.compare import Comparisons, PreparedWorkloads


def report_one(
    comparison: Comparisons,
    workloads: PreparedWorkloads,
    expectations: Sequence[Any],
    printer: Output,
    *,
    markdown: Path | None,
    csv: Path | None,
) -> int:
    """Print the table of one workload, with claims and expectations, and return the exit code."""
    from grng.experiments.claims.statements import parse_claims
    from grng.experiments.claims.verdicts import judge_claims
    from grng.report.load import load_experiment
    from grng.report.tables import summarise
    from grng_cli.live.reading_progress import reading
    from grng_cli.summaries.compare import show

    (prepared,) = workloads.each
    config, directories = prepared.config, [comparison.directory]
    with reading(printer) as on_read:
        experiment = load_experiment(comparison.directory, on_read=on_read, indexes=workloads.indexes)
    table = summarise(experiment, columns=config.shown_columns, margin=config.margin, interval=config.interval)
    claims = judge_claims(parse_claims(config.claims, prepared.labels), experiment)
    return show(table, expectations, printer, claims=claims, directories=directories, markdown=markdown, csv=csv)


def report_several(
    comparison: Comparisons,
    workloads: PreparedWorkloads,
    expectations: Sequence[Any],
    printer: Output,
    *,
    markdown: Path | None,
    csv: Path | None,
) -> int:
    """Print the table of several workloads, with claims and expectations, and return the exit code."""
    from grng.experiments.claims.statements import parse_claims
    from grng.report.workloads import load_workloads
    from grng_cli.live.reading_progress import reading
    from grng_cli.summaries.workloads import show_workloads

    first = workloads.each[0]
    with reading(printer) as on_read:
        loaded = load_workloads(comparison.directory, on_read=on_read, indexes=workloads.indexes)
    return show_workloads(
        loaded,
        expectations,
        printer,
        claims=parse_claims(first.config.claims, first.labels),
        columns=first.config.shown_columns,
        margin=first.config.margin,
        interval=first.config.interval,
        directories=[comparison.directory],
        markdown=markdown,
        csv=csv,
    )
