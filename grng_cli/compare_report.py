"""What `grng compare` prints once its runs are done: read from their directories, as `grng report` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.experiments.workloads.compare import Comparisons, PreparedWorkloads


def report_done(
    comparison: Comparisons,
    workloads: PreparedWorkloads,
    expectations: Sequence[Any],
    printer: Output,
    *,
    markdown: Path | None,
    csv: Path | None,
) -> int:
    """Print the table of one workload or of several, with claims and expectations, and return the exit code."""
    from grng.experiments.claims.statements import parse_claims
    from grng.experiments.claims.verdicts import judge_claims
    from grng.report.load import load_experiment
    from grng.report.tables import summarise
    from grng.report.workloads import load_workloads
    from grng_cli.live.reading_progress import reading
    from grng_cli.summaries.compare import show
    from grng_cli.summaries.workloads import show_workloads

    config, directory = workloads.each[0].config, comparison.directory
    claims = parse_claims(config.claims, workloads.each[0].labels)
    shown: dict[str, Any] = {"directories": [directory], "markdown": markdown, "csv": csv}
    counted: dict[str, Any] = {"margin": config.margin, "interval": config.interval, "columns": config.shown_columns}
    if workloads.several:
        with reading(printer) as on_read:
            loaded = load_workloads(directory, on_read=on_read, indexes=workloads.indexes)
        return show_workloads(loaded, expectations, printer, claims=claims, **counted, **shown)
    with reading(printer) as on_read:
        experiment = load_experiment(directory, on_read=on_read, indexes=workloads.indexes)
    return show(
        summarise(experiment, **counted), expectations, printer, claims=judge_claims(claims, experiment), **shown
    )
