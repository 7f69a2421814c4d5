"""What `grng compare` shows while it runs: a line per run that ends; on a terminal also the table of all runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from grng.runs.collection import collection_put_off
from grng_cli.live.live_table import LiveTable
from grng_cli.live.run_board import Board
from grng_cli.live.run_events import follow
from grng_cli.live.run_notices import RunNotices
from grng_cli.output import Output
from grng_cli.wording import outcome, scalar, seconds

if TYPE_CHECKING:
    from grng.experiments.plan import PlannedRun
    from grng.experiments.record import Calibration

MANY = 100
"""Runs of which more that were done before are told by their number, not one by one."""


class CompareProgress(AbstractContextManager["CompareProgress"]):
    """Shows the events of all runs; a context manager while it does. Its methods may be called from any thread."""

    def __init__(self, output: Output, *, total: int | None = None, workers: int = 1) -> None:
        """Show on `output`; with `total` runs on several workloads, whose plans come one after the other.

        `workers` runs go at once.
        """
        self._output = output
        self.board = Board(workers)
        """Where the runs stand."""
        if total is not None:
            self.board.expect(total)
        self._table = LiveTable(output, self.board)
        self._lock = threading.Lock()
        self._prefix = ""
        self._untold = 0
        self._notices = RunNotices(output)

    def __enter__(self) -> Self:
        self._table.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._tell_reused()
        self._table.__exit__(kind, error, traceback)

    @property
    def ended(self) -> int:
        """How many runs have a result."""
        return self.board.ended

    @property
    def total(self) -> int:
        """How many runs there are."""
        return self.board.total

    def planned(self, runs: Sequence[PlannedRun]) -> None:
        """Take in which runs there will be."""
        with collection_put_off():
            for run in runs:
                name = self._name(run)
                self.board.add(name, name, f"{self._prefix}{run.label}", run.config.training.steps)

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
        from grng.training.events import RunEnded

        with self._lock:
            name = self._name(run)
            self._notices(name, event)
            follow(self.board, name, event)
            if not isinstance(event, RunEnded) or event.result.status == "interrupted":
                return
            if event.reused and self.total > MANY:
                self._untold += 1
                return
            self._tell_reused()
            text = f"{outcome(event.result)}{' (reused)' if event.reused else ''}"
            self._output.chatter(f"[{self.ended}/{self.total}] {name}: {text}")

    def _tell_reused(self) -> None:
        """Say how many runs were there that have not been told."""
        if self._untold:
            self._output.chatter(f"{self._untold} of {self.total} runs are there already (reused)")
            self._untold = 0

    def _name(self, run: PlannedRun) -> str:
        return f"{self._prefix}{run.label} seed {run.seed}"
