"""What a comparison of tuned rows shows besides its table: the values found, smaller budgets, and what is ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from grng_cli.layout import render
from grng_cli.output import Output
from grng_cli.wording import seconds

if TYPE_CHECKING:
    from grng.experiments.compare import Prepared
    from grng.experiments.estimate import Estimate
    from grng.experiments.tuning.tune import TrialsAhead
    from grng.report.tables import Table


def print_tuning(table: Table, printer: Output) -> None:
    """Print the values that were found and what smaller budgets would have found; nothing where no row was tuned."""
    from grng.report.tuning_tables import curve_columns, curve_remarks, value_columns

    if not table.tuning:
        return
    printer.data()
    printer.data(render(value_columns(table), printer.table_width))
    if table.curves:
        printer.data()
        printer.data(render(curve_columns(table), printer.table_width))
        printer.data()
    for remark in curve_remarks(table):
        printer.prose(f"note: {remark}")


def tuning_lines(prepared: Prepared) -> list[str]:
    """Return how the rows were tuned that sweeps were named for, where no report says it."""
    from grng.experiments.tuning.tuned import tuning_notes

    config = prepared.config
    rows = {entry.spec.label: entry.sweep for entry in config.optimizers if entry.spec.label not in prepared.sweeps}
    names = [entry.name for entry in config.optimizers if entry.spec.label not in prepared.sweeps]
    return tuning_notes(rows, names, model=config.model.name, dataset=config.dataset.name)


def print_ahead(ahead: Mapping[str, TrialsAhead], estimates: Mapping[str, Estimate], printer: Output) -> None:
    """Print what the tuning of each row takes."""
    for label, one in ahead.items():
        space = ", ".join(f"{name}={dimension}" for name, dimension in one.sweep.space.items())
        to_do = f"{one.sweep.total - one.done} of {one.sweep.total} trials to do"
        guess = seconds(estimates[label].seconds)
        printer.prose(f"tuning {label}: {to_do}, {one.runs} runs of {guess} each, of {space}")
    if ahead:
        printer.data()


def ahead_as_dicts(ahead: Mapping[str, TrialsAhead], estimates: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    """Return what the tuning of each row takes as JSON."""
    return [
        {
            "label": label,
            "directory": str(one.sweep.directory),
            "trials": one.sweep.total,
            "done": one.done,
            "runs": one.runs,
            "tuning_seeds": one.sweep.config.seeds,
            "sampler": one.sweep.config.sampler,
            "objective": one.sweep.config.objective,
            "space": {name: str(dimension) for name, dimension in one.sweep.space.items()},
            "steps": estimates[label].steps,
            "estimated_seconds_per_run": None if (guess := estimates[label].seconds) is None else round(guess, 1),
        }
        for label, one in ahead.items()
    ]
