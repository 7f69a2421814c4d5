"""TensorBoard: scalars (train/, eval/, optimizer/, diagnostics/, time/, final/), coverage, hyperparameters, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import summary_pb2
from torch.utils.tensorboard import summary

from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.events import EpochDone, Evaluated, Event, RunEnded, RunStarted, StepDone
from grng.training.listeners.event_file import EventFile

_summary: Any = summary  # has no types
_FINAL = ("train_loss", "val_loss", "val_accuracy", "test_loss", "test_accuracy")


class TensorBoard:
    """Writes a run's events to TensorBoard files in the run directory.

    Args:
        directory: The run directory.
        purge_step: On resuming, the first step that this process will do: TensorBoard drops what a killed process
            wrote from there on, so that no point is there twice. None for a fresh run.

    Raises:
        RunDirectoryError: If the directory cannot be written.
    """

    def __init__(self, directory: Path, *, purge_step: int | None = None) -> None:
        self._file = EventFile(directory, purge_step=purge_step)
        self._stride = 1
        self._last: int | None = None

    def __call__(self, event: Event) -> None:
        """Write what the event holds.

        Raises:
            RunDirectoryError: If it cannot be written.
        """
        match event:
            case RunStarted():
                self._start(event)
            case StepDone():
                self._step(event)
            case Evaluated():
                self._scalars({"eval/loss": event.val_loss, "eval/accuracy": event.val_accuracy}, event.step)
            case EpochDone():
                self._scalars({"train/epoch_loss": event.train_loss}, event.step)
            case RunEnded() if event.result.status in ("finished", "diverged"):
                self._end(event.result)
            case _:
                pass
        self._file.flush()

    def _step(self, event: StepDone) -> None:
        if event.coverage_summary is not None:
            self._file.add(_summary.text("coverage", event.coverage_summary), event.step)
        if not event.logged or self._is_left_out(event):
            return
        metrics = {_tag(name): value for name, value in event.metrics.items() if _is_there(name, value)}
        times = {f"time/{name}": value for name, value in event.timing.items()}
        self._scalars({"train/loss": event.train_loss, **metrics, **times}, event.step)

    def _is_left_out(self, event: StepDone) -> bool:
        """Whether a step is one too many for TensorBoard: `metrics.jsonl` has it."""
        if event.step % self._stride == 0 or event.step in (1, self._last) or not math.isfinite(event.train_loss):
            return False
        return not any(name.startswith("diagnostics/") for name in event.metrics)

    def sync(self) -> None:
        """Force what was written to the disk, before a checkpoint."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _start(self, event: RunStarted) -> None:
        logging = event.config.logging
        points = math.ceil(event.planned_steps / logging.log_every)
        if points > logging.tensorboard_points:
            self._stride = logging.log_every * math.ceil(points / logging.tensorboard_points)
        self._last = event.planned_steps
        if event.resumed_from_step is not None:
            return
        if event.coverage_summary is not None:
            self._file.add(_summary.text("coverage", event.coverage_summary), 0)
        # Without the final scores as yet, so that a running run shows up under HParams.
        final = {f"final/{name}": 0.0 for name in _FINAL}
        experiment, start, _ = _summary.hparams(hyperparameters(event.config), final)
        # In the same file: SummaryWriter.add_hparams would put it into a subdirectory and so make two runs of one.
        self._file.add(experiment)
        self._file.add(start)

    def _end(self, result: RunResult) -> None:
        final = {f"final/{name}": getattr(result.final, name) for name in _FINAL}
        self._scalars({name: value for name, value in final.items() if value is not None}, result.steps)
        _, _, end = _summary.hparams({}, {})
        self._file.add(end)

    def _scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Add the scalars of one step, as one record: the frame of a record is larger than a scalar in it."""
        together = summary_pb2.Summary()
        for tag, value in scalars.items():
            together.value.extend(_summary.scalar(tag, value).value)
        if together.value:
            self._file.add(together, step)


def hyperparameters(config: RunConfig) -> dict[str, bool | str | float | int]:
    """Return the settings that TensorBoard's HParams page compares runs by."""
    settings: dict[str, Any] = {
        "optimizer": config.optimizer.name,
        "model": config.model.name,
        "dataset": config.dataset.name,
        "seed": config.seed,
        "batch_size": config.training.batch_size,
        "schedule": config.training.schedule,
        "warmup": config.training.warmup,
        "epochs": config.training.epochs,
        "steps": config.training.steps,
    }
    settings |= config.optimizer.hyperparameters
    return {
        key: value if isinstance(value, (bool, str, float, int)) else str(value)
        for key, value in settings.items()
        if value is not None
    }


def _is_there(name: str, value: float) -> bool:
    """Whether there is a value: a diagnostic that is no number could not be measured."""
    return math.isfinite(value) or not name.startswith("diagnostics/")


def _tag(name: str) -> str:
    """Return the scalar's tag: names without a slash are about training."""
    return name if "/" in name else f"train/{name.removeprefix('train_')}"
