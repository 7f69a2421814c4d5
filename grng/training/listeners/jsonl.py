"""`metrics.jsonl`: one JSON object a line, one line a logged step, an evaluated step, or an epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grng.runs.appending import AppendedFile
from grng.training.events import EpochDone, Event, StepDone


class JsonLines:
    """Appends a run's metrics to a file, each line at once, and whole or not at all.

    Numbers that are not finite are written as null, since JSON has none.

    Args:
        path: The file.
        position: Bytes of it that belong to this run so far, from a checkpoint: what a killed process wrote after its
            last checkpoint is cut off, so that no step is there twice. 0 starts the file anew.

    Raises:
        RunDirectoryError: If the file cannot be written, or is shorter than `position`.
    """

    def __init__(self, path: Path, *, position: int = 0) -> None:
        self._file = AppendedFile(path, position=position)

    def __call__(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        if isinstance(event, EpochDone) or (isinstance(event, StepDone) and event.logged):
            line = json.dumps({key: _plain(value) for key, value in metrics_line(event).items()}, allow_nan=False)
            self._file.write(line.encode() + b"\n")

    def sync(self) -> int:
        """Force all lines to the disk and return the file's size in bytes, for a checkpoint."""
        return self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def metrics_line(event: StepDone | EpochDone) -> Mapping[str, Any]:
    """Return the line of one event as a dictionary; numbers may still be not finite."""
    line: dict[str, Any] = {
        "kind": "epoch" if isinstance(event, EpochDone) else "step",
        "step": event.step,
        "epoch": event.epoch,
        "elapsed_s": event.elapsed_s,
        "train_loss": event.train_loss,
    }
    if isinstance(event, StepDone):
        line |= event.metrics
    if event.evaluation is not None:
        line |= {"val_loss": event.evaluation.val_loss, "val_accuracy": event.evaluation.val_accuracy}
    if isinstance(event, EpochDone):
        line["batches_sha256"] = event.batches_sha256
    return line


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
