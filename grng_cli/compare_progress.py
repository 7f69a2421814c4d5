"""What `grng compare` shows while it runs: a line per run that ends; on a terminal also bars for what is under way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from grng_cli.output import Output
from grng_cli.run_notices import RunNotices
from grng_cli.wording import fraction, outcome, scalar, seconds

if TYPE_CHECKING:
    from grng.experiments.plan import PlannedRun
    from grng.experiments.record import Calibration

_BAR = 12
_DONE = 15
_SHORTEST_NAME = 12
_REST = _BAR + _DONE + len("val. accuracy 0.000") + len("0:00:00") + 4
"""Columns of a line without the run's name."""


class CompareProgress(AbstractContextManager["CompareProgress"]):
    """Shows the events of all runs; a context manager while it does. Its methods may be called from any thread."""

    def __init__(self, output: Output, *, total: int | None = None) -> None:
        """Show on `output`; with `total` runs on several workloads, whose plans come one after the other."""
        self._output = output
        # Every column but the first keeps its width, so that nothing jumps when runs begin and end.
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=_BAR),
            TextColumn("{task.fields[done]}", markup=False),
            TextColumn("{task.fields[scores]}", markup=False),
            TimeElapsedColumn(),
            console=output.stderr,
            disable=not output.live,
            transient=True,
        )
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._overall: TaskID | None = None
        self._total = total or 0
        self._several = total is not None
        self._prefix = ""
        self._ended = 0
        self._names = _SHORTEST_NAME
        self._notices = RunNotices(output)

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
        if not self._several:
            self._total = len(runs)
        longest = max((len(self._name(run)) for run in runs), default=0)
        self._names = max(_SHORTEST_NAME, min(longest, self._output.stderr.width - _REST))
        if self._overall is None:
            self._overall = self._add("all", total=self._total, unit="runs")

    def workload(self, name: str | None) -> None:
        """Take in which workload the runs that follow are of."""
        self._prefix = f"{name}: " if name else ""
        self._notices.forget()

    def calibrated(self, label: str, calibration: Calibration) -> None:
        """Say what a budget in seconds came to."""
        self._output.chatter(
            f"{self._prefix}{label}: {scalar(calibration.step_ms)} ms a step, {calibration.steps} steps in "
            f"{seconds(calibration.seconds)}"
        )

    def __call__(self, run: PlannedRun, event: Any) -> None:
        """Show an event of `run`."""
        from grng.training.events import Evaluated, RunEnded, RunStarted, StepDone

        with self._lock:
            self._notices(self._name(run), event)
            if isinstance(event, RunStarted):
                self._started(run, event)
            elif isinstance(event, StepDone):
                self._update(run, event.step)
            elif isinstance(event, Evaluated):
                self._update(run, scores=_scores(event.val_accuracy))
            elif isinstance(event, RunEnded):
                self._end(run, event)

    def _name(self, run: PlannedRun) -> str:
        return f"{self._prefix}{run.label} seed {run.seed}"

    def _started(self, run: PlannedRun, event: Any) -> None:
        if (run.label, run.seed) not in self._tasks:
            task = self._add(self._name(run), total=event.planned_steps, unit="steps", scores=_scores(None))
            self._tasks[run.label, run.seed] = task
            self._update(run, event.resumed_from_step or 0)

    def _add(self, name: str, *, total: int, unit: str, scores: str = "") -> TaskID:
        shown = name if len(name) <= self._names else f"{name[: self._names - 1]}…"
        done = _done(0, total, unit)
        return self._bars.add_task(f"{shown:<{self._names}}", total=total, unit=unit, done=done, scores=scores)

    def _update(self, run: PlannedRun, step: int | None = None, **changes: Any) -> None:
        task = self._tasks.get((run.label, run.seed))
        if task is not None:
            self._advance(task, step, **changes)

    def _advance(self, task: TaskID, done: int | None, **changes: Any) -> None:
        if done is not None:
            shown = self._bars.tasks[self._bars.task_ids.index(task)]
            changes |= {"completed": done, "done": _done(done, int(shown.total or 0), shown.fields["unit"])}
        self._bars.update(task, **changes)

    def _end(self, run: PlannedRun, event: Any) -> None:
        if event.result.status == "interrupted":
            return
        self._ended += 1
        text = f"{outcome(event.result)}{' (reused)' if event.reused else ''}"
        self._output.chatter(f"[{self._ended}/{self._total}] {self._name(run)}: {text}")
        task = self._tasks.pop((run.label, run.seed), None)
        if task is not None:
            self._bars.remove_task(task)
        if self._overall is not None:
            self._advance(self._overall, self._ended)


def _done(done: int, total: int, unit: str) -> str:
    return f"{f'{done}/{total} {unit}':<{_DONE}}"


def _scores(val_accuracy: float | None) -> str:
    return f"val. accuracy {fraction(val_accuracy):<5}"
