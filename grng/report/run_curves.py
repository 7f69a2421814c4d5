"""What a run measured on its way, from the lines of `metrics.jsonl`; torn and foreign lines are skipped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grng.report.metric_lines import metric_lines

QUANTITIES = ("val_accuracy", "val_loss", "epoch_loss", "train_loss")
"""`epoch_loss` is the mean training loss over an epoch's batches, `train_loss` a single batch's."""


@dataclass(frozen=True, slots=True)
class RunCurves:
    """The curves of one run.

    Attributes:
        values: By quantity (`QUANTITIES`), the value at each step that has one; NaN where it was no finite number.
        elapsed_s: Seconds on the training clock at each of these steps.
        steps_per_epoch: None where no epoch was completed.
    """

    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    elapsed_s: Mapping[int, float] = field(default_factory=dict)
    steps_per_epoch: int | None = None

    @property
    def last_step(self) -> int:
        """The last step that anything is known of; 0 where nothing is."""
        return max(self.elapsed_s, default=0)


def read_run_curves(directory: Path) -> RunCurves:
    """Read the curves of the run in `directory`; without a readable `metrics.jsonl` they are empty."""
    values: dict[str, dict[int, float]] = {name: {} for name in QUANTITIES}
    elapsed: dict[int, float] = {}
    epochs: dict[int, int] = {}
    for step, line in metric_lines(directory):
        elapsed[step] = _number(line.get("elapsed_s"), otherwise=0.0)
        is_epoch = line.get("kind") == "epoch"
        for name in ("val_accuracy", "val_loss"):
            if name in line:
                values[name][step] = _number(line[name])
        if "train_loss" in line:
            values["epoch_loss" if is_epoch else "train_loss"][step] = _number(line["train_loss"])
        if is_epoch and isinstance(line.get("epoch"), int):
            epochs[line["epoch"]] = step
    # The last epoch may have been cut short: only one that another follows says how long an epoch is.
    whole = epochs.get(1) if 2 in epochs else None
    return RunCurves(values, elapsed, whole)


def _number(value: object, otherwise: float = math.nan) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else otherwise
