"""What `grng sweep` ends with: the best trials, how they were found, what mattered, and the best configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng_cli.disk import told_of_disk
from grng_cli.layout import render
from grng_cli.output import Output
from grng_cli.wording import command, fraction, scalar, seconds

if TYPE_CHECKING:
    from grng.experiments.sweeps.plan import PreparedSweep
    from grng.experiments.sweeps.summary import Summary
    from grng.experiments.sweeps.trials import Trial

SHOWN_TRIALS = 10
SHOWN_PLANNED = 20
_BAR = 20


def told(objective: str, trial: Trial) -> str:
    """Return the value of a trial as text."""
    if trial.value is None:
        return "-"
    if math.isinf(trial.value):
        return "never" if objective.endswith("-to-target") else "-"
    return fraction(trial.value) if objective == "accuracy" else scalar(trial.value)


def trial_text(trial: Trial, objective: str) -> str:
    """Return what came of a trial, in a line."""
    from grng.experiments.sweeps.objectives import TITLES

    given = ", ".join(f"{name}={_cell(value)}" for name, value in trial.values.items())
    if trial.status != "finished":
        reasons = sorted({run.reason for run in trial.runs if run.reason})
        why = f" ({', '.join(reasons)})" if reasons else ""
        return f"trial {trial.number} ({given}): {trial.status}{why}"
    return f"trial {trial.number} ({given}): {TITLES[objective]} {told(objective, trial)}"


def show(summary: Summary, printer: Output) -> None:
    """Print what a sweep has come to."""
    if printer.json_only:
        printer.document(summary.document())
        for warning in summary.warnings:
            printer.warning(warning)
        return
    printer.data(_title(summary))
    printer.data()
    printer.data(render(_columns(summary), printer.table_width))
    printer.data()
    if summary.improvements:
        steps = "; ".join(f"trial {one.number}: {told(summary.objective, one)}" for one in summary.improvements)
        printer.prose(f"best so far: {steps}")
    if summary.curve is not None:
        from grng.report.tuning_tables import point_text

        fewer = "; ".join(f"{point.k}: {point_text(summary.curve, point)}" for point in summary.curve.points)
        printer.prose(f"best of k trials, expected: {fewer}")
    for name, share in summary.importance.items():
        bar = "█" * round(_BAR * share)
        printer.data(f"importance:  {name:<{max(map(len, summary.importance))}}  {100 * share:3.0f} %  {bar}".rstrip())
    _show_maps(summary, printer)
    for warning in summary.warnings:
        printer.warning(warning)
    printer.data()
    printer.data(f"trials:      {summary.directory}")
    if summary.best is not None:
        printer.data(f"best config: {summary.best_config}")
        printer.data(f"train it:    {command('grng', 'train', '--config', summary.best_config)}")
        if printer.quiet:
            printer.essential(str(summary.best_config))


def _show_maps(summary: Summary, printer: Output) -> None:
    from grng.report.sensitivity import LEGEND

    for one in summary.shown_maps:
        printer.data()
        printer.data(f"{one.heading()}:")
        printer.data(render(one.columns(), printer.table_width))
    if summary.shown_maps:
        printer.prose(LEGEND)


def write_markdown(summary: Summary, path: Path) -> None:
    """Write the best trials and the maps as Markdown.

    Raises:
        RunDirectoryError: The file cannot be written.
    """
    from grng.report.export import markdown_table
    from grng.report.sensitivity import LEGEND
    from grng.runs.files import atomic_write_text

    parts = [f"{_title(summary)}.\n", markdown_table(_columns(summary), summary.warnings)]
    for one in summary.shown_maps:
        parts += [f"{one.heading()}:\n", markdown_table(one.columns(), ())]
    if summary.shown_maps:
        parts.append(LEGEND.replace("*", "\\*", 1) + "\n")
    atomic_write_text(path, "\n".join(parts))


def describe(prepared: PreparedSweep, printer: Output) -> None:
    """Print what a sweep would try, and an estimate of time and disk; nothing is written."""
    from grng.experiments.estimate import estimate
    from grng.experiments.sweeps.trials import read_trials

    printer.chatter("measuring a few steps …")
    guess = estimate(prepared.probe)
    done = sum(trial.ended for trial in read_trials(prepared.directory, prepared.space)[: prepared.total])
    ahead = (prepared.total - done) * prepared.config.tuning_seeds
    total_s = None if guess.seconds is None else guess.seconds * ahead / min(prepared.workers, max(1, ahead))
    disk = None if guess.disk_bytes is None else guess.disk_bytes * ahead
    free, on_disk = told_of_disk(disk, prepared.directory, printer)
    adaptive = prepared.config.sampler == "tpe"
    planned = [] if adaptive else [prepared.propose(number, ()) for number in range(prepared.total)]
    if printer.json_only:
        printer.document(
            {
                "directory": str(prepared.directory),
                "trials": prepared.total,
                "done": done,
                "tuning_seeds": prepared.config.seeds,
                "space": {name: str(dimension) for name, dimension in prepared.space.items()},
                "sampler": prepared.config.sampler,
                "values": planned,
                "steps": guess.steps,
                "workers": prepared.workers,
                "estimated_seconds": None if total_s is None else round(total_s, 1),
                "estimated_disk_bytes": disk,
                "free_disk_bytes": free,
            }
        )
        return
    for name, dimension in prepared.space.items():
        printer.data(f"{name}: {dimension}")
    printer.data()
    for number, values in enumerate(planned[:SHOWN_PLANNED]):
        printer.prose(f"trial {number}: {', '.join(f'{name}={_cell(value)}' for name, value in values.items())}")
    if len(planned) > SHOWN_PLANNED:
        printer.data(f"and {len(planned) - SHOWN_PLANNED} more")
    what = f"{prepared.total - done} of {prepared.total} trials to do in {prepared.directory}, {ahead} runs"
    if guess.absent:
        printer.sentence(f"{what}; not measured: {guess.absent} Nothing was written.")
        return
    at_once = f" with {prepared.workers} at once" if prepared.workers > 1 else ""
    printer.sentence(f"{what}{at_once}; estimate: {seconds(total_s)}, {on_disk}. Nothing was written.")


def _title(summary: Summary) -> str:
    counts = ", ".join(f"{count} {what}" for what, count in summary.counts.items() if count)
    many = "s" * (len(summary.tuning_seeds) > 1)
    seeds = ", ".join(map(str, summary.tuning_seeds))
    return (
        f"{summary.optimizer} on {summary.dataset} with {summary.model}: {len(summary.trials)} trials ({counts}), "
        f"tuning seed{many} {seeds}"
    )


def _columns(summary: Summary) -> Sequence[Any]:
    from grng.experiments.sweeps.summary import title
    from grng.report.columns import Column

    shown = summary.ranked[:SHOWN_TRIALS]

    def column(heading: str, cells: Sequence[str], *, left: bool = False) -> Column:
        return Column(heading, "left" if left else "right", tuple(cells), None if heading == "trial" else "accuracy")

    columns = [
        column("trial", [str(trial.number) for trial in shown]),
        column(title(summary.objective), [told(summary.objective, trial) for trial in shown]),
    ]
    if summary.objective != "accuracy":
        columns.append(column("val. accuracy", [fraction(trial.val_accuracy) for trial in shown]))
    columns += [column(name, [_cell(trial.values[name]) for trial in shown]) for name in summary.space]
    if any(trial.status != "finished" for trial in shown):
        columns.append(column("status", [trial.status for trial in shown], left=True))
    return columns


def _cell(value: Any) -> str:
    from grng.experiments.sweeps.space_grammar import written

    return written(value)
