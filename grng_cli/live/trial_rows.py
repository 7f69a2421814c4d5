"""The trials of a sweep on the board: those of this process by their events, others as the folder has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from grng_cli.live.run_board import Board, State
from grng_cli.live.run_events import follow

if TYPE_CHECKING:
    from grng.experiments.sweeps.plan import PreparedSweep
    from grng.experiments.sweeps.trials import Trial

Key = tuple[str, int, int]


class TrialRows:
    """A row for every run of every trial.

    Args:
        board: Where they are put up.
        prepared: The sweep.
        label: Of the comparison's row that is tuned; empty for a sweep of its own.
    """

    def __init__(self, board: Board, prepared: PreparedSweep, label: str = "") -> None:
        self._board = board
        self._label = label
        self._seeds = prepared.config.seeds
        self._total = prepared.total
        self._taken: set[int] = set()
        self._settled = 0
        for number in range(prepared.total):
            for seed in self._seeds:
                kind = label or prepared.config.optimizer.name
                board.add(self._key(number, seed), self._name(number, seed), kind, prepared.probe.training.steps)

    def __call__(self, trial: Trial, seed: int, event: Any) -> None:
        """Take in an event of a run of this process."""
        key = self._key(trial.number, seed)
        if trial.number < self._total:
            self._taken.add(trial.number)
            self._tell_values(trial, seed)
            follow(self._board, key, event)

    def look(self, trials: Sequence[Trial]) -> None:
        """Take in where the trials of other processes, and of earlier calls, stand.

        Args:
            trials: All of them, by number; each call has those of the one before, and perhaps more.
        """
        # Of thousands, most have ended and been seen: the first ones are not looked at again.
        for trial in trials[self._settled :]:
            if self._is_not_looked_at(trial):
                continue
            outcomes = {run.seed: run for run in trial.runs}
            for seed in self._seeds:
                key = self._key(trial.number, seed)
                if self._board.rows[key].ended:
                    continue
                self._tell_values(trial, seed)
                if seed in outcomes:
                    run = outcomes[seed]
                    self._board.end(key, cast(State, run.status), accuracy=run.val_accuracy, reused=True)
                else:
                    self._board.leave(key, "elsewhere")
        while self._settled < len(trials):
            trial = trials[self._settled]
            if not trial.ended and trial.number < self._total:
                break
            self._settled += 1

    def is_ours(self, trial: Trial) -> bool:
        """Return whether this process has taken a trial up."""
        return trial.number in self._taken

    def _is_not_looked_at(self, trial: Trial) -> bool:
        # A run of this process that was pruned says of itself that it was interrupted.
        ours = trial.number in self._taken and trial.status != "pruned"
        return ours or trial.number >= self._total

    def _key(self, number: int, seed: int) -> Key:
        return self._label, number, seed

    def _name(self, number: int, seed: int) -> str:
        prefix = f"{self._label}: " if self._label else ""
        return f"{prefix}trial {number}" + (f" seed {seed}" if len(self._seeds) > 1 else "")

    def _tell_values(self, trial: Trial, seed: int) -> None:
        from grng.experiments.sweeps.space_grammar import written

        values = ", ".join(f"{name}={written(value)}" for name, value in trial.values.items())
        self._board.rows[self._key(trial.number, seed)].name = f"{self._name(trial.number, seed)}  {values}"
