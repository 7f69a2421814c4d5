"""`--dry-run`: the runs, an estimate of time and disk; nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from grng_cli.disk import told_of_disk
from grng_cli.output import Output
from grng_cli.wording import seconds

if TYPE_CHECKING:
    from grng.experiments.estimate import Estimate
    from grng.experiments.tuning.tune import TrialsAhead
    from grng.runs.config import RunConfig

Planned = tuple[str, int, "RunConfig", Path]
"""Label, seed, config and directory of a run."""


def row_name(workload: str | None, label: str) -> str:
    """Return how estimates and trials of a row are found."""
    return f"{workload}: {label}" if workload else label


def describe(
    runs: Sequence[Planned],
    printer: Output,
    *,
    directory: Path,
    workers: int,
    workloads: Sequence[str] | None = None,
    unknown: Collection[str] = (),
    tuning: Mapping[str, TrialsAhead] | None = None,
    there: Sequence[bool] | None = None,
) -> None:
    """Print what would be run.

    Args:
        runs: In the order in which they would be begun.
        printer: Of the command.
        directory: Where all of them are.
        workers: How many would go at once.
        workloads: The name of every run's, where there are several.
        unknown: Rows whose hyperparameters tuning will tell, by `row_name`.
        tuning: The trials of each row that is tuned first, by `row_name`.
        there: Of every run whether it has been found done already; the others are looked for.
    """
    from grng.experiments.estimate import estimate
    from grng.runs.rundir import RunDirectory, RunState
    from grng_cli.summaries.tuning import ahead_as_dicts, print_ahead

    printer.chatter("measuring a few steps of each optimizer …")
    estimates: dict[str, Estimate] = {}
    rows = [row_name(workloads[at] if workloads else None, run[0]) for at, run in enumerate(runs)]
    first = {row: run[2] for row, run in zip(reversed(rows), reversed(runs), strict=True)}
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        console=printer.stderr,
        disable=not printer.live,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=len(first))
        for row in dict.fromkeys(rows):
            bar.update(task, description=row)
            estimates[row] = estimate(first[row])
            bar.advance(task)
    done = {RunState.FINISHED, RunState.DIVERGED}
    states = [
        row not in unknown and (known or RunDirectory(directory).check(config) in done)
        for row, (_, _, config, directory), known in zip(rows, runs, there or [False] * len(runs), strict=True)
    ]
    ahead = [estimates[row] for row, there in zip(rows, states, strict=True) if not there]
    count = len(ahead)
    trials = tuning or {}
    ahead += [estimates[label] for label, one in trials.items() for _ in range(one.runs)]
    absent = next((one.absent for one in ahead if one.absent), None)
    total_s = None if absent else sum(one.seconds or 0.0 for one in ahead) / min(workers, max(1, len(ahead)))
    disk = None if absent else sum(one.disk_bytes or 0 for one in ahead)
    free, on_disk = told_of_disk(disk, directory, printer)
    if printer.json_only:
        printer.document(
            {
                **({"tuning": ahead_as_dicts(trials, estimates)} if trials else {}),
                "runs": [
                    {
                        **({"workload": workloads[at]} if workloads else {}),
                        "label": label,
                        "seed": seed,
                        "directory": str(directory),
                        "steps": estimates[rows[at]].steps,
                        "done": there,
                        "estimated_seconds": _rounded(estimates[rows[at]].seconds),
                        "estimated_disk_bytes": estimates[rows[at]].disk_bytes,
                    }
                    for at, ((label, seed, _, directory), there) in enumerate(zip(runs, states, strict=True))
                ],
                "workers": workers,
                "estimated_seconds": _rounded(total_s),
                "estimated_disk_bytes": disk,
                "free_disk_bytes": free,
            }
        )
        return
    print_ahead(trials, estimates, printer)
    printer.data(_table(runs, states, [estimates[row] for row in rows], workloads))
    to_do = f"{count} of {len(runs)} runs to do"
    if trials:
        to_do = f"{sum(one.runs for one in trials.values())} runs of trials and {to_do}"
    if absent:
        printer.sentence(f"{to_do}; not measured: {absent} Nothing was written.")
        return
    at_once = f" with {workers} at once" if workers > 1 else ""
    printer.sentence(f"{to_do}{at_once}; estimate: {seconds(total_s)}, {on_disk}. Nothing was written.")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _table(
    runs: Sequence[Planned], states: Sequence[bool], estimates: Sequence[Estimate], workloads: Sequence[str] | None
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in (*(["workload"] if workloads else []), "optimizer", "seed", "steps", "estimate", "directory"):
        table.add_column(head, justify="right" if head in ("seed", "steps", "estimate") else "left", overflow="fold")
    for index, ((label, seed, _, directory), there, guess) in enumerate(zip(runs, states, estimates, strict=True)):
        first = [Text(workloads[index])] if workloads else []
        shown = "done" if there else seconds(guess.seconds)
        table.add_row(*first, Text(label), str(seed), str(guess.steps or "-"), shown, Text(str(directory)))
    return table
