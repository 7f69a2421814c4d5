"""Ending trials that look bad before they are done (`pruner`): off by default, since it favours fast starters."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from grng.experiments.sweeps.objectives import RunOutcome

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

    from grng.experiments.sweeps.trials import TrialStore
    from grng.runs.result import RunResult

Pruner = Literal["none", "median", "halving"]

OBJECTIVES = ("accuracy", "loss")
"""Objectives that a run has a value of on its way."""

STARTUP_TRIALS = 5
"""Trials that must have ended before the median prunes."""


def optuna_pruner(name: Pruner) -> BasePruner:
    """Return Optuna's pruner.

    Args:
        name: `median`: a trial whose best value so far is worse than the median of the others at the same step;
            `halving`: asynchronous successive halving (Li et al. 2018, arXiv 1810.05934), the best quarter goes on.
    """
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    if name == "median":
        return MedianPruner(n_startup_trials=STARTUP_TRIALS)
    return SuccessiveHalvingPruner() if name == "halving" else NopPruner()


@dataclass(frozen=True)
class _Report:
    number: int
    directory: Path
    step: int
    value: float
    accuracy: float
    last: bool


class Pruning:
    """Watches the evaluations of trials that run here, and has those stopped that the pruner gives up.

    Made and asked on one thread; events may come from any.

    Args:
        store: The trials.
        objective: `accuracy` or `loss`.
        pruner: Which one.
        stop: Has the run in a directory save itself and stop.
    """

    def __init__(self, store: TrialStore, objective: str, pruner: Pruner, stop: Callable[[Path], None]) -> None:
        self._store = store
        self._objective = objective
        self._pruner = optuna_pruner(pruner)
        self._stop = stop
        self._thread = threading.get_ident()
        self._reports: SimpleQueue[_Report] = SimpleQueue()
        self._given_up: dict[int, _Report] = {}

    def watch(self, number: int, directory: Path, planned_steps: int, event: Any) -> None:
        """Take in an event of a trial's run; other than evaluations none matters."""
        from grng.training.events import Evaluated

        if not isinstance(event, Evaluated):
            return
        value = event.val_accuracy if self._objective == "accuracy" else event.val_loss
        if not math.isfinite(value):  # the loop itself ends that run
            return
        last = event.step >= planned_steps
        self._reports.put(_Report(number, directory, event.step, value, event.val_accuracy, last))
        if threading.get_ident() == self._thread:  # a run of this process: nobody else will ask
            self.heed()

    def heed(self) -> None:
        """Write down what was evaluated, and stop the trials that are given up."""
        while True:
            try:
                report = self._reports.get_nowait()
            except Empty:
                return
            if report.number in self._given_up:
                continue
            bad = self._store.report(report.number, report.step, report.value, self._pruner)
            if bad and not report.last:
                self._given_up[report.number] = report
                self._stop(report.directory)

    def outcome(self, number: int, result: RunResult) -> RunOutcome:
        """Return what is kept of a trial's run, which may have been stopped."""
        found = RunOutcome.of(result)
        report = self._given_up.pop(number, None)
        if report is None or result.status != "interrupted":
            return found
        loss = report.value if self._objective == "loss" else None
        reason = f"at step {report.step}"
        return replace(found, status="pruned", reason=reason, val_accuracy=report.accuracy, val_loss=loss)
