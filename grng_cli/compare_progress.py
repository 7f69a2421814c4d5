"""What `grng compare` shows while it runs: a line per run that ends; on a terminal also bars for what is under way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from grng_cli.output import Output
from grng_cli.wording import fraction, outcome, scalar, seconds

if TYPE_CHECKING:
    from grng.experiments.plan import PlannedRun
    from grng.experiments.record import Calibration


class CompareProgress(AbstractContextManager["CompareProgress"]):
    """Shows the events of all runs; a context manager while it does. Its methods may be called from any thread."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            TextColumn("{task.fields[scores]}"),
            TimeElapsedColumn(),
            console=output.stderr,
            disable=not output.live,
            transient=True,
        )
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._overall: TaskID | None = None
        self._total = 0
        self._ended = 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    @property
    def ended(self) -> int:
        """How many runs have a result."""
        return self._ended

    @property
    def total(self) -> int:
        """How many runs there are."""
        return self._total

    def planned(self, runs: Sequence[PlannedRun]) -> None:
        """Take in how many runs there will be."""
        self._total = len(runs)
        self._overall = self._bars.add_task("all", total=len(runs), unit="runs", scores="")

    def calibrated(self, label: str, calibration: Calibration) -> None:
        """Say what a budget in seconds came to."""
        self._output.chatter(
            f"{label}: {scalar(calibration.step_ms)} ms a step, {calibration.steps} steps in "
            f"{seconds(calibration.seconds)}"
        )

    def __call__(self, run: PlannedRun, event: Any) -> None:
        """Show an event of `run`."""
        from grng.experiments.local import WorkerDied
        from grng.training.events import Evaluated, RunEnded, RunStarted, StepDone

        with self._lock:
            if isinstance(event, RunStarted):
                self._started(run, event)
            elif isinstance(event, StepDone):
                self._update(run, completed=event.step)
            elif isinstance(event, Evaluated):
                self._update(run, scores=f"val. accuracy {fraction(event.val_accuracy)}")
            elif isinstance(event, WorkerDied):
                what = "trying again" if event.retried else "giving up"
                self._output.warning(f"{run.label} seed {run.seed}: the worker died ({event.reason}); {what}")
            elif isinstance(event, RunEnded):
                self._end(run, event)

    def _started(self, run: PlannedRun, event: Any) -> None:
        if event.resumed_from_step is not None:
            self._output.chatter(f"{run.label} seed {run.seed}: resumed from step {event.resumed_from_step}")
        if (run.label, run.seed) not in self._tasks:
            name = f"{run.label} seed {run.seed}"
            self._tasks[run.label, run.seed] = self._bars.add_task(
                name, total=event.planned_steps, completed=event.resumed_from_step or 0, unit="steps", scores=""
            )

    def _update(self, run: PlannedRun, **changes: Any) -> None:
        task = self._tasks.get((run.label, run.seed))
        if task is not None:
            self._bars.update(task, **changes)

    def _end(self, run: PlannedRun, event: Any) -> None:
        if event.result.status == "interrupted":
            return
        self._ended += 1
        text = f"{outcome(event.result)}{' (reused)' if event.reused else ''}"
        self._output.chatter(f"[{self._ended}/{self._total}] {run.label} seed {run.seed}: {text}")
        task = self._tasks.pop((run.label, run.seed), None)
        if task is not None:
            self._bars.remove_task(task)
        if self._overall is not None:
            self._bars.update(self._overall, completed=self._ended)
