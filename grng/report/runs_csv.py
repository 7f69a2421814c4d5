"""Every run as a line of CSV, whatever became of it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

from grng.report.records import Experiment, Run

COLUMNS = (
    "workload",
    "label",
    "seed",
    "status",
    "reason",
    "steps",
    "test_accuracy",
    "test_loss",
    "val_accuracy",
    "val_loss",
    "train_loss",
    "best_val_accuracy",
    "best_epoch",
    "target_accuracy",
    "target_step",
    "target_time_s",
    "train_s",
    "total_s",
    "step_ms",
    "data_ms",
    "forward_ms",
    "observe_ms",
    "backward_ms",
    "optimizer_ms",
    "time_shared",
    "memory_growth_mb",
    "memory_peak_mb",
    "optimizer_state_bytes",
    "parameters",
    "model",
    "dataset",
    "run_id",
    "directory",
)
"""The names of the first line; accuracies are fractions, losses nats."""


def runs_csv(experiments: Mapping[str, Experiment]) -> str:
    """Return one line a run under a line of names: `COLUMNS`; what a run does not have is empty.

    Args:
        experiments: By the workload's name.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, experiment in experiments.items():
        for run in experiment.runs:
            values = _values(name, run)
            writer.writerow([_cell(values.get(column)) for column in COLUMNS])
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _values(workload: str, run: Run) -> dict[str, Any]:
    known = {
        "workload": workload,
        "label": run.label,
        "seed": run.seed,
        "status": run.status,
        "directory": str(run.directory),
    }
    result = run.result
    if result is None:
        return known
    final, time, memory = result.final, result.time, result.memory
    return {
        **known,
        "reason": result.reason,
        "steps": result.steps,
        "test_accuracy": final.test_accuracy,
        "test_loss": final.test_loss,
        "val_accuracy": final.val_accuracy,
        "val_loss": final.val_loss,
        "train_loss": final.train_loss,
        "best_val_accuracy": result.best.val_accuracy,
        "best_epoch": result.best.epoch,
        "target_accuracy": result.target.accuracy,
        "target_step": result.target.step,
        "target_time_s": result.target.time_s,
        "train_s": time.train_s,
        "total_s": time.total_s,
        **{
            f"{name}_ms": getattr(time, f"{name}_ms")
            for name in ("step", "data", "forward", "observe", "backward", "optimizer")
        },
        "time_shared": time.shared,
        "memory_growth_mb": memory.growth_mb,
        "memory_peak_mb": memory.peak_mb,
        "optimizer_state_bytes": memory.optimizer_state_bytes,
        "parameters": result.parameters.total,
        "model": result.model,
        "dataset": result.dataset,
        "run_id": result.run_id,
    }
