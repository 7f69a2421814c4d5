"""`--dry-run`: the runs, an estimate of time and disk; nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from grng_cli.output import Output
from grng_cli.wording import seconds, size

if TYPE_CHECKING:
    from grng.experiments.estimate import Estimate
    from grng.experiments.tuning import TrialsAhead
    from grng.runs.config import RunConfig

Planned = tuple[str, int, "RunConfig", Path]
"""Label, seed, config and directory of a run."""


def describe(
    runs: Sequence[Planned],
    printer: Output,
    *,
    workers: int,
    unknown: Collection[str] = (),
    tuning: Mapping[str, TrialsAhead] | None = None,
) -> None:
    """Print what would be run.

    Args:
        runs: In the order in which they would be begun.
        printer: Of the command.
        workers: How many would go at once.
        unknown: Rows whose hyperparameters tuning will tell.
        tuning: The trials of each row that is tuned first.
    """
    from grng.experiments.estimate import estimate
    from grng.runs.rundir import RunDirectory, RunState
    from grng_cli.tuning_summary import ahead_as_dicts, print_ahead

    printer.chatter("measuring a few steps of each optimizer …")
    estimates: dict[str, Estimate] = {}
    for label, _, config, _ in runs:
        if label not in estimates:
            estimates[label] = estimate(config)
    done = {RunState.FINISHED, RunState.DIVERGED}
    states = [
        label not in unknown and RunDirectory(directory).check(config) in done for label, _, config, directory in runs
    ]
    ahead = [estimates[run[0]] for run, there in zip(runs, states, strict=True) if not there]
    count = len(ahead)
    trials = tuning or {}
    ahead += [estimates[label] for label, one in trials.items() for _ in range(one.runs)]
    absent = next((one.absent for one in ahead if one.absent), None)
    total_s = None if absent else sum(one.seconds or 0.0 for one in ahead) / min(workers, max(1, len(ahead)))
    disk = None if absent else sum(one.disk_bytes or 0 for one in ahead)
    if printer.json_only:
        printer.document(
            {
                **({"tuning": ahead_as_dicts(trials, estimates)} if trials else {}),
                "runs": [
                    {
                        "label": label,
                        "seed": seed,
                        "directory": str(directory),
                        "steps": estimates[label].steps,
                        "done": there,
                        "estimated_seconds": _rounded(estimates[label].seconds),
                        "estimated_disk_bytes": estimates[label].disk_bytes,
                    }
                    for (label, seed, _, directory), there in zip(runs, states, strict=True)
                ],
                "workers": workers,
                "estimated_seconds": _rounded(total_s),
                "estimated_disk_bytes": disk,
            }
        )
        return
    print_ahead(trials, estimates, printer)
    printer.data(_table(runs, states, estimates))
    to_do = f"{count} of {len(runs)} runs to do"
    if trials:
        to_do = f"{sum(one.runs for one in trials.values())} runs of trials and {to_do}"
    if absent:
        printer.essential(f"{to_do}; not measured: {absent} Nothing was written.")
        return
    at_once = f" with {workers} at once" if workers > 1 else ""
    printer.essential(f"{to_do}{at_once}; estimate: {seconds(total_s)}, {size(disk)} of disk. Nothing was written.")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _table(runs: Sequence[Planned], states: Sequence[bool], estimates: dict[str, Estimate]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("optimizer", "seed", "steps", "estimate", "directory"):
        table.add_column(head, justify="right" if head in ("seed", "steps", "estimate") else "left", overflow="fold")
    for (label, seed, _, directory), there in zip(runs, states, strict=True):
        guess = "done" if there else seconds(estimates[label].seconds)
        table.add_row(Text(label), str(seed), str(estimates[label].steps or "-"), guess, Text(str(directory)))
    return table
