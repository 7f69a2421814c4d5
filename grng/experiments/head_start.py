"""Whether all runs of a command seem to be there, told before torch is loaded.

It says whether worker processes are worth starting while the rest is being checked, and nothing else: what is there for
certain is found out later, and a wrong guess costs the time that a start ahead would have saved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from grng.experiments.sweeps.config import DEFAULT_TRIALS
from grng.experiments.sweeps.ended import all_ended
from grng.experiments.workloads.config import workload_names
from grng.runs.identity import directory_name

if TYPE_CHECKING:
    from grng.experiments.compare_config import CompareConfig
    from grng.experiments.sweeps.config import SweepConfig

_HEAD = 100
_DONE = (b'"status": "finished"', b'"status": "diverged"')


def all_seem_done(config: CompareConfig) -> bool:
    """Return whether every run of a comparison seems to have finished or diverged, by labels and seeds alone.

    Args:
        config: The comparison; without `output`, any experiment with a directory of that kind may be it.
    """
    roots: Iterable[Path] = [config.output] if config.output is not None else Path("runs").glob("compare-*")
    return any(_all_done(os.fspath(root), config) for root in roots)


def trials_seem_done(config: SweepConfig) -> bool:
    """Return whether all trials of a sweep have ended, of one whose directory is given."""
    return config.output is not None and all_ended(config.output, config.trials or DEFAULT_TRIALS)


def _all_done(root: str, config: CompareConfig) -> bool:
    workloads = config.workloads or []
    names = [directory_name(name) for name in workload_names(workloads)] if len(workloads) > 1 else [""]
    labels = [directory_name(spec.label) for spec in config.specs]
    # The last runs first: where an experiment was cut off, these are missing.
    return all(
        _is_done(os.path.join(root, name, label, f"seed{seed}", "result.json"))  # noqa: PTH118 - of thousands of runs
        for name in reversed(names)
        for seed in reversed(config.seeds)
        for label in reversed(labels)
    )


def _is_done(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(_HEAD)
    except OSError:
        return False
    return any(done in head for done in _DONE)
