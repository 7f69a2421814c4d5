"""What `grng sweep` shows while it runs: a line per trial that ends; on a terminal also the table of all runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from grng_cli.live.compare_progress import MANY
from grng_cli.live.live_table import LiveTable
from grng_cli.live.run_board import Board
from grng_cli.live.run_notices import RunNotices
from grng_cli.live.trial_rows import TrialRows
from grng_cli.output import Output
from grng_cli.summaries.sweep import told, trial_text

if TYPE_CHECKING:
    from grng.experiments.sweeps.config import Objective
    from grng.experiments.sweeps.plan import PreparedSweep
    from grng.experiments.sweeps.trials import Trial


class SweepProgress(AbstractContextManager["SweepProgress"]):
    """Shows the trials of a sweep; a context manager while it does. Its methods may be called from any thread."""

    def __init__(self, output: Output, prepared: PreparedSweep) -> None:
        self._output = output
        self._prepared = prepared
        self.board = Board(prepared.workers)
        """Where the runs of the trials stand."""
        self._rows = TrialRows(self.board, prepared)
        self._table = LiveTable(output, self.board)
        self._lock = threading.Lock()
        self._notices = RunNotices(output)
        self._best = BestSoFar(prepared.config.objective)
        self._untold = 0

    @property
    def count(self) -> int:
        """How many trials have ended."""
        return self._best.count

    def __enter__(self) -> Self:
        config = self._prepared.config
        space = ", ".join(f"{name}={dimension}" for name, dimension in self._prepared.space.items())
        self._output.chatter(f"{config.optimizer.name}: {self._prepared.total} trials ({config.sampler}) of {space}")
        self._output.chatter(f"in {self._prepared.directory}")
        self._table.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._tell_reused()
        self._table.__exit__(kind, error, traceback)

    def ended(self, trial: Trial, trials: list[Trial]) -> None:
        """Say what came of a trial."""
        objective = self._prepared.config.objective
        with self._lock:
            best = self._best.take_in(trials)
            self._rows.look(trials)
            if self._prepared.total > MANY and not self._rows.is_ours(trial):
                self._untold += 1
                return
            self._tell_reused()
            best_text = "" if best is None else f"best {told(objective, best)} (trial {best.number})"
            self._output.chatter(
                f"[{self.count}/{self._prepared.total}] {trial_text(trial, objective)}"
                + (f"; {best_text}" if best is not None and best.number != trial.number else "")
            )

    def _tell_reused(self) -> None:
        """Say how many trials were there that have not been told."""
        if self._untold:
            self._output.chatter(f"{self._untold} of {self._prepared.total} trials are there already (reused)")
            self._untold = 0

    def look(self, trials: Sequence[Trial]) -> None:
        """Take in what other processes have done."""
        with self._lock:
            self._rows.look(trials)

    def __call__(self, trial: Trial, seed: int, event: Any) -> None:
        """Show a run's event."""
        with self._lock:
            self._rows(trial, seed, event)
            self._notices(f"trial {trial.number} seed {seed}", event)


class BestSoFar:
    """The best of the trials that finished; each is looked at once.

    Args:
        objective: Of the sweep.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._seen: set[int] = set()
        self._settled = 0
        self._best: Trial | None = None

    @property
    def count(self) -> int:
        """How many trials have ended."""
        return len(self._seen)

    def take_in(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the best of all trials; None where none finished.

        Args:
            trials: Each call has those of the one before, in the same order, and perhaps more.
        """
        from grng.experiments.sweeps.summary import rank

        for one in trials[self._settled :]:
            if one.number in self._seen or not one.ended:
                continue
            self._seen.add(one.number)
            better = self._best is None or rank(one, self._objective) < rank(self._best, self._objective)
            if one.status == "finished" and better:
                self._best = one
        while self._settled < len(trials) and trials[self._settled].number in self._seen:
            self._settled += 1
        return self._best
