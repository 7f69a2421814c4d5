"""What `grng train` shows while it trains: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from grng_cli.output import Output
from grng_cli.wording import fraction, scalar

if TYPE_CHECKING:
    from grng.training.events import EpochDone, RunStarted, StepDone


class TrainProgress(AbstractContextManager["TrainProgress"]):
    """A listener of one run's events; a context manager while it shows them."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bar = Progress(
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=10),
            TextColumn("step {task.completed}/{task.total}"),
            TextColumn("{task.fields[scores]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=output.stderr,
            disable=not output.live,
            transient=True,
        )
        self._task: TaskID | None = None
        self._epochs = 1
        self._loss = ""
        self._accuracy = ""
        self._begun: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Any) -> None:
        """Show an event."""
        from grng.training.events import EpochDone, RunStarted, StepDone

        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, EpochDone):
            self._epoch(event)

    def _start(self, event: RunStarted) -> None:
        for text in event.warnings:
            self._output.warning(text)
        for line in event.notes:
            self._say(line)
        if event.coverage_summary:
            self._say(event.coverage_summary)
        if event.resumed_from_step is not None:
            self._say(f"resumed from step {event.resumed_from_step}")
        self._epochs = -(-event.planned_steps // event.steps_per_epoch)
        done = event.resumed_from_step or 0
        self._begun = (time.monotonic(), done)
        self._task = self._bar.add_task(
            "", total=event.planned_steps, completed=done, epoch=self._named(1), scores="", speed=""
        )

    def _step(self, event: StepDone) -> None:
        if event.coverage_summary is not None:
            self._say(f"after the first look at the model: {event.coverage_summary}")
        self._loss = f"loss {scalar(event.train_loss)}"
        if "train_accuracy" in event.metrics:
            self._accuracy = f"accuracy {fraction(event.metrics['train_accuracy'])}"
        begun, before = self._begun
        speed = (event.step - before) / max(1e-9, time.monotonic() - begun)
        self._update(event.step, event.epoch, f"{speed:.3g} steps/s")

    def _epoch(self, event: EpochDone) -> None:
        accuracy = event.evaluation.val_accuracy
        self._accuracy = f"val. accuracy {fraction(accuracy)}"
        self._say(
            f"{self._named(event.epoch)}: step {event.step}, train loss {scalar(event.train_loss)}, "
            f"val. loss {scalar(event.evaluation.val_loss)}, val. accuracy {fraction(accuracy)}"
        )

    def _update(self, step: int, epoch: int, speed: str) -> None:
        if self._task is not None:
            scores = "  ".join(part for part in (self._loss, self._accuracy) if part)
            self._bar.update(self._task, completed=step, epoch=self._named(epoch), scores=scores, speed=speed)

    def _named(self, epoch: int) -> str:
        return f"epoch {epoch}/{self._epochs}"

    def _say(self, text: str) -> None:
        # While a bar is shown, the console of the bar prints above it.
        self._output.chatter(text)
