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


def describe(runs: Sequence[Planned], printer: Output, *, workers: int, workloads: Sequence[str] | None = None) -> None:
    """Print what would be run.

    Args:
        runs: In the order in which they would be begun.
        printer: Of the command.
        workers: How many would go at once.
        workloads: The name of every run's, where there are several.
    """
    from grng.experiments.estimate import estimate
    from grng.runs.rundir import RunDirectory, RunState

    printer.chatter("measuring a few steps of each optimizer …")
    known: dict[tuple[str, str], Estimate] = {}
    names = workloads or [""] * len(runs)
    for name, (label, _, config, _) in zip(names, runs, strict=True):
        if (name, label) not in known:
            known[name, label] = estimate(config)
    estimates = [known[name, run[0]] for name, run in zip(names, runs, strict=True)]
    done = {RunState.FINISHED, RunState.DIVERGED}
    states = [RunDirectory(directory).check(config) in done for _, _, config, directory in runs]
    ahead = [guess for guess, there in zip(estimates, states, strict=True) if not there]
    absent = next((one.absent for one in ahead if one.absent), None)
    total_s = None if absent else sum(one.seconds or 0.0 for one in ahead) / min(workers, max(1, len(ahead)))
    disk = None if absent else sum(one.disk_bytes or 0 for one in ahead)
    if printer.json_only:
        printer.document(
            {
                "runs": [
                    {
                        **({"workload": name} if workloads else {}),
                        "label": label,
                        "seed": seed,
                        "directory": str(directory),
                        "steps": guess.steps,
                        "done": there,
                        "estimated_seconds": _rounded(guess.seconds),
                        "estimated_disk_bytes": guess.disk_bytes,
                    }
                    for name, (label, seed, _, directory), guess, there in zip(
                        names, runs, estimates, states, strict=True
                    )
                ],
                "workers": workers,
                "estimated_seconds": _rounded(total_s),
                "estimated_disk_bytes": disk,
            }
        )
        return
    printer.data(_table(runs, states, estimates, workloads))
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
