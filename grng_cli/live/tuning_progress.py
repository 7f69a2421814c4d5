"""What `grng compare --tune` shows while it tunes: a line per trial that ends; on a terminal also every run."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from grng_cli.live.live_table import LiveTable
from grng_cli.live.run_board import Board
from grng_cli.live.run_notices import RunNotices
from grng_cli.live.sweep_progress import BestSoFar
from grng_cli.live.trial_rows import TrialRows
from grng_cli.options import common as options
from grng_cli.output import Output
from grng_cli.summaries.sweep import told, trial_text
from grng_cli.wording import scalar, seconds

if TYPE_CHECKING:
    from grng.experiments.compare import Prepared
    from grng.experiments.record import Calibration
    from grng.experiments.sweeps.plan import PreparedSweep
    from grng.experiments.sweeps.trials import Trial


def run_tuning(prepared: Prepared, printer: Output, *, rerun: bool) -> Prepared | int:
    """Tune the rows of a comparison, showing progress; return it with what was found, or the exit code when stopped.

    Raises:
        GrngError: Something for the user to mend.
    """
    from grng.experiments.tuning.tune import target_warnings, tune
    from grng.training.errors import Interrupted
    from grng_cli.stopping import how_stopped, terminate_as_interrupt

    if not prepared.sweeps:
        for warning in target_warnings(prepared):
            printer.warning(warning)
        return prepared
    progress = TuningProgress(printer, prepared)
    try:
        with terminate_as_interrupt(), progress:
            tuned = tune(
                prepared,
                on_sweep=progress.begun,
                on_trial=progress.ended,
                on_event=progress,
                on_look=progress.look,
                on_calibrated=progress.calibrated,
                rerun=rerun,
            )
    except (KeyboardInterrupt, Interrupted) as error:
        how, code = how_stopped(error)
        printer.warning(
            f"{how} while tuning: {progress.count} of {progress.total} trials have ended, the others are saved in "
            f"{prepared.directory}\n  go on with: {options.invocation()}"
        )
        return code
    for warning in target_warnings(tuned):
        printer.warning(warning)
    return tuned


class TuningProgress(AbstractContextManager["TuningProgress"]):
    """Shows the trials of all rows; a context manager while it does. Its methods may be called from any thread."""

    def __init__(self, output: Output, prepared: Prepared) -> None:
        self._output = output
        self._sweeps = prepared.sweeps
        self.board = Board(len(prepared.slots))
        """Where the runs of all rows' trials stand."""
        self.board.expect(sum(one.total * one.config.tuning_seeds for one in prepared.sweeps.values()))
        self._table = LiveTable(output, self.board)
        self._rows: dict[str, TrialRows] = {}
        self.total = sum(one.total for one in prepared.sweeps.values())
        """How many trials there are."""
        self._lock = threading.Lock()
        self._notices = RunNotices(output)
        self._counts: dict[str, int] = {}
        self._best: dict[str, BestSoFar] = {}

    @property
    def count(self) -> int:
        """How many trials have ended."""
        return sum(self._counts.values())

    def __enter__(self) -> Self:
        self._table.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._table.__exit__(kind, error, traceback)

    def calibrated(self, label: str, calibration: Calibration) -> None:
        """Say what a budget in seconds came to for the trials of a row."""
        self._output.chatter(
            f"tuning {label}: {scalar(calibration.step_ms)} ms a step, trials of {calibration.steps} steps in "
            f"{seconds(calibration.seconds)}"
        )

    def begun(self, label: str, sweep: PreparedSweep, there: bool) -> None:
        """Say which row is tuned, and how."""
        from grng.experiments.sweeps.trials import read_trials

        config = sweep.config
        with self._lock:
            self._rows[label] = TrialRows(self.board, sweep, label)
            if there:
                self._rows[label].look(read_trials(sweep.directory, sweep.space))
                self._counts[label] = sweep.total
                self._output.chatter(f"tuning {label}: all {sweep.total} trials are there (reused)")
                return
            space = ", ".join(f"{name}={dimension}" for name, dimension in sweep.space.items())
            self._output.chatter(f"tuning {label}: {sweep.total} trials ({config.sampler}) of {space}")

    def ended(self, label: str, trial: Trial, trials: list[Trial]) -> None:
        """Say what came of a trial."""
        sweep = self._sweeps[label]
        objective = sweep.config.objective
        so_far = self._best.setdefault(label, BestSoFar(objective))
        best = so_far.take_in(trials)
        what = trial_text(trial, objective).removeprefix(f"trial {trial.number}")
        best_text = "" if best is None else f"best {told(objective, best)}"
        with self._lock:
            line = f"tuning {label}: trial {so_far.count} of {sweep.total}{what}"
            self._output.chatter(line + (f"; {best_text}" if best is not None and best.number != trial.number else ""))
            self._counts[label] = min(so_far.count, sweep.total)
            self._rows[label].look(trials)

    def look(self, label: str, trials: list[Trial]) -> None:
        """Take in what other processes have done."""
        with self._lock:
            self._rows[label].look(trials)

    def __call__(self, label: str, trial: Trial, seed: int, event: Any) -> None:
        """Show a run's event."""
        with self._lock:
            self._rows[label](trial, seed, event)
            self._notices(f"tuning {label}: trial {trial.number} seed {seed}", event)
