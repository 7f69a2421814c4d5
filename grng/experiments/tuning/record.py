"""What a sweep's directory says of the row that took its best: how it was tuned, and what was reached."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from grng.errors import GrngError
from grng.experiments.compare_config import CompareConfig
from grng.experiments.sweeps.endings import ENDINGS
from grng.experiments.tuning.tuned import FILE, read_tuning
from grng.report.tuning import EdgeValue, RowTuning
from grng.runs.schema import absolute


def tunings_of(config: CompareConfig, directory: Path) -> dict[str, RowTuning]:
    """Return how the rows with a sweep were tuned, by label.

    Args:
        config: The comparison, tuned.
        directory: Its directory.

    Raises:
        GrngError: A sweep cannot be read.
    """
    return {
        entry.spec.label: row_tuning(entry.sweep, entry.name, directory)
        for entry in config.optimizers
        if entry.sweep is not None
    }


def row_tuning(folder: Path, optimizer: str, experiment: Path) -> RowTuning:
    """Return how a row was tuned by the sweep in `folder`.

    Args:
        folder: The sweep's directory.
        optimizer: The row's.
        experiment: The experiment's directory.

    Raises:
        GrngError: There is no such sweep, or no best.
    """
    tuning = read_tuning(folder, optimizer)
    found = _summary(folder)
    place, root = absolute(folder), absolute(experiment)
    inside = place.is_relative_to(root)
    counts, best = found["counts"], found["best"]
    try:
        return RowTuning(
            directory=place.relative_to(root).as_posix() if inside else str(place),
            optimizer=optimizer,
            model=tuning.model,
            dataset=tuning.dataset,
            sampler=found.get("sampler", "qmc"),
            objective=found.get("objective", "accuracy"),
            tuning_seeds=len(found.get("tuning_seeds", [0])),
            **{status: int(counts.get(status, 0)) for status in ENDINGS},
            pruner=found.get("pruner", "none"),
            values=dict(tuning.values),
            value=best.get("value"),
            edges=tuple(EdgeValue.model_validate(edge) for edge in found.get("edges", [])),
        )
    except (ValidationError, TypeError, ValueError):
        raise GrngError("is no summary of a sweep.", where=str(folder / FILE)) from None


def tuned_target(folder: Path, optimizer: str) -> float:
    """Return the median final validation accuracy of the runs of the best trial: the target `tuned`.

    Args:
        folder: The sweep's directory.
        optimizer: The one that was tuned.

    Raises:
        GrngError: There is no such sweep, no best, or no accuracy.
    """
    read_tuning(folder, optimizer)
    runs = _summary(folder)["best"].get("runs", [])
    reached = [run["val_accuracy"] for run in runs if isinstance(run.get("val_accuracy"), int | float)]
    if not reached or statistics.median(reached) <= 0:
        raise GrngError(
            f"the best trial in {folder} has no validation accuracy for a target.",
            where="training.target",
            hint="Give --target as a number.",
        )
    return float(statistics.median(reached))


def highest_accuracy(folder: Path) -> float | None:
    """Return the highest validation accuracy that a trial of the sweep had at its end; None: there is none."""
    found = [trial.get("val_accuracy") for trial in _summary(folder).get("trials", [])]
    return max((float(one) for one in found if isinstance(one, int | float)), default=None)


def _summary(folder: Path) -> dict[str, Any]:
    path = folder.expanduser() / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise GrngError("is no summary of a sweep.", where=str(path))
    return found
