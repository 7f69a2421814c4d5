"""What was measured along the way, from the `metrics.jsonl` of an experiment's runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from grng.report.metric_lines import metric_lines
from grng.report.records import Experiment

QUANTITIES = {
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "train_loss": "training loss",
    "train_accuracy": "training accuracy",
}
"""What can be drawn, with its title."""


@dataclass(frozen=True, slots=True)
class RunCurve:
    """One quantity over one run.

    Attributes:
        seed: The run's.
        steps: At which it was measured, ascending.
        times: Seconds on the training clock then.
        values: What was measured; all finite.
    """

    seed: int | None
    steps: tuple[int, ...]
    times: tuple[float, ...]
    values: tuple[float, ...]


def read_curves(experiment: Experiment, quantity: str) -> dict[str, list[RunCurve]]:
    """Return a curve for every run that measured the quantity, by the row's label.

    Training losses are means over an epoch, the others those of each evaluation.

    Args:
        experiment: From `load_experiment`.
        quantity: One of `QUANTITIES`.
    """
    curves = {
        label: [_read(run.directory, run.seed, quantity) for run in experiment.of(label)] for label in experiment.labels
    }
    return {label: [one for one in of_label if one.steps] for label, of_label in curves.items()}


def _read(directory: Path, seed: int | None, quantity: str) -> RunCurve:
    epochs_only = quantity.startswith("train_")
    points: dict[int, tuple[float, float]] = {}
    for step, record in metric_lines(directory, lambda _place, _count, text: quantity.encode() in text):
        time, value = record.get("elapsed_s"), record.get(quantity)
        wanted = not epochs_only or record.get("kind") == "epoch"
        if wanted and _finite(time) and _finite(value):
            points[step] = (float(time), float(value))
    steps = tuple(sorted(points))
    return RunCurve(seed, steps, tuple(points[step][0] for step in steps), tuple(points[step][1] for step in steps))


def _finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def mean_curve(curves: Sequence[RunCurve]) -> RunCurve:
    """Return the mean of several runs, over the steps that all of them have; empty where there is none."""
    common = sorted(set.intersection(*(set(one.steps) for one in curves))) if curves else []
    at = [{step: place for place, step in enumerate(one.steps)} for one in curves]
    chosen = [[places[step] for places in at] for step in common]
    times = [math.fsum(one.times[place] for one, place in zip(curves, row, strict=True)) / len(row) for row in chosen]
    values = [math.fsum(one.values[place] for one, place in zip(curves, row, strict=True)) / len(row) for row in chosen]
    return RunCurve(None, tuple(common), tuple(times), tuple(values))
