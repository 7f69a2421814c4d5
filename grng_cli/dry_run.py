"""`--dry-run`: the runs, an estimate of time and disk; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from grng_cli.output import Output
from grng_cli.wording import seconds, size

if TYPE_CHECKING:
    from grng.experiments.estimate import Estimate
    from grng.runs.config import RunConfig

Planned = tuple[str, int, "RunConfig", Path]
"""Label, seed, config and directory of a run."""


def describe(runs: Sequence[Planned], printer: Output, *, workers: int) -> None:
    """Print what would be run.

    Args:
        runs: In the order in which they would be begun.
        printer: Of the command.
        workers: How many would go at once.
    """
    from grng.experiments.estimate import estimate
    from grng.runs.rundir import RunDirectory, RunState

    printer.chatter("measuring a few steps of each optimizer …")
    estimates: dict[str, Estimate] = {}
    for label, _, config, _ in runs:
        if label not in estimates:
            estimates[label] = estimate(config)
    done = {RunState.FINISHED, RunState.DIVERGED}
    states = [RunDirectory(directory).check(config) in done for _, _, config, directory in runs]
    ahead = [estimates[run[0]] for run, there in zip(runs, states, strict=True) if not there]
    absent = next((one.absent for one in ahead if one.absent), None)
    total_s = None if absent else sum(one.seconds or 0.0 for one in ahead) / min(workers, max(1, len(ahead)))
    disk = None if absent else sum(one.disk_bytes or 0 for one in ahead)
    if printer.json_only:
        printer.document(
            {
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
    printer.data(_table(runs, states, estimates))
    if absent:
        printer.essential(f"{len(ahead)} of {len(runs)} runs to do; not measured: {absent} Nothing was written.")
        return
    at_once = f" with {workers} at once" if workers > 1 else ""
    printer.essential(
        f"{len(ahead)} of {len(runs)} runs to do{at_once}; estimate: {seconds(total_s)}, {size(disk)} of disk. "
        "Nothing was written."
    )


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
