"""A sweep, from its config to the best configuration: trials are begun as workers become free."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from grng.errors import GrngError, RunDirectoryError
from grng.experiments.given import as_config
from grng.experiments.machine import executor_for, with_threads
from grng.experiments.pool.elsewhere import RunTaken
from grng.experiments.pool.executor import Executor
from grng.experiments.sweeps import record as sweep_record
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.objectives import RunOutcome, minimizes, trial_value
from grng.experiments.sweeps.plan import PreparedSweep, prepare
from grng.experiments.sweeps.pruning import Pruning
from grng.experiments.sweeps.summary import Summary, summarise, write
from grng.experiments.sweeps.trials import Taken, Trial, TrialStore, remove_trials
from grng.runs.files import explain_os_errors

if TYPE_CHECKING:
    from grng.runs.result import RunResult

POLL_SECONDS = 0.5
"""Between two looks at the trials of other processes."""

SUMMARY_SHARE = 0.05
"""Share of the time, at most, that goes into the summary while trials run: with thousands of them it takes seconds."""

CLAIM_SECONDS = 15.0
"""How long a run whose sweep was killed may take to save itself before its trial goes on here."""

RunEvent = Callable[[Trial, int, Any], None]
"""Receives trial, seed and event (`grng.training.events`) of every run; from any thread."""

TrialEvent = Callable[[Trial, "list[Trial]"], None]
"""Receives a trial that has ended, and all trials of the folder; the list may grow afterwards."""

Look = Callable[["list[Trial]"], None]
"""Receives all trials of the folder."""


def sweep(
    config: SweepConfig | PreparedSweep | Mapping[str, Any],
    *,
    on_trial: TrialEvent | None = None,
    on_event: RunEvent | None = None,
    on_look: Look | None = None,
    rerun: bool = False,
    executor: Executor | None = None,
) -> Summary:
    """Do all trials of a sweep that are not there already, beside other processes that sweep into the same directory.

    Args:
        config: The sweep, prepared or not, or its settings as in a YAML file: `{"optimizer": "ring", "trials": 8}`.
        on_trial: Called with every trial that ends here, and all trials so far; at first with each of those that
            had ended before, and the ones before it.
        on_event: Receives every run's events, and `RunTaken` when this process takes it up.
        on_look: Called again and again while other processes do the last trials.
        rerun: Throw away the trials that are there.
        executor: What runs them, and stays open for the caller to close; default: processes on this machine.

    Returns:
        The summary, as stored in `sweep.json`; it has `.table()` (pandas) and `.plot()` (plotly), and shows itself in
        a notebook.

    Raises:
        GrngError: Something for the user to mend; what had not ended is told to save itself.
        KeyboardInterrupt: As above.
    """
    config = as_config(SweepConfig, config) if isinstance(config, Mapping) else config
    prepared = config if isinstance(config, PreparedSweep) else prepare(config, rerun=rerun)
    directory = prepared.directory
    sweep_record.write_record(directory, sweep_record.described(prepared.config, prepared.space, prepared.probe))
    if rerun:
        _start_over(prepared)
    store = _store(prepared)
    earlier = store.trials()
    if on_trial:
        so_far: list[Trial] = []
        for trial in earlier:
            so_far.append(trial)
            if trial.ended:
                on_trial(trial, so_far)
    with ExitStack() as stack:
        pool = executor or stack.enter_context(executor_for(prepared.slots, prepared.config.pool))
        _Sweeper(prepared, store, pool, on_trial, on_event, on_look).run()
    return _write_summary(prepared, store)


@dataclass
class _Open:
    """A trial that runs here."""

    taken: Taken
    futures: dict[int, Future[RunResult]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return all(future.done() for future in self.futures.values())


class _Sweeper:
    """Keeps the workers busy: begins trials, waits, writes down what came of them."""

    def __init__(
        self,
        prepared: PreparedSweep,
        store: TrialStore,
        pool: Executor,
        on_trial: TrialEvent | None,
        on_event: RunEvent | None,
        on_look: Look | None,
    ) -> None:
        self._prepared = prepared
        self._store = store
        self._pool = pool
        self._on_trial = on_trial
        self._on_event = on_event or (lambda trial, seed, event: None)
        self._on_look = on_look or (lambda trials: None)
        self._open: dict[int, _Open] = {}
        config = prepared.config
        prunes = config.pruner != "none"
        self._pruning = Pruning(store, config.objective, config.pruner, pool.stop) if prunes else None
        self._next_summary = time.monotonic()
        self._owed = False

    def run(self) -> None:
        """Go on until all trials have ended, here or in another process."""
        try:
            while self._begin() or self._open or self._others_run():
                self._wait()
        finally:
            for one in self._open.values():
                one.taken.claim.release()
            if self._owed:
                with suppress(GrngError):
                    _write_summary(self._prepared, self._store)

    def _begin(self) -> bool:
        """Begin as many trials as there are workers without a run; return whether one was begun."""
        begun = False
        # A trial that has ended is written down before the next one begins: that one may depend on it.
        while self._unfinished() < self._prepared.workers and not any(one.done for one in self._open.values()):
            taken = self._store.take(self._prepared.total, self._prepared.propose)
            if taken is None:
                break
            self._open[taken.trial.number] = _Open(taken)
            self._submit(self._open[taken.trial.number])
            begun = True
        return begun

    def _unfinished(self) -> int:
        return sum(not future.done() for one in self._open.values() for future in one.futures.values())

    def _submit(self, one: _Open) -> None:
        prepared, trial = self._prepared, one.taken.trial
        for seed in prepared.config.seeds:
            self._on_event(trial, seed, RunTaken())
            directory = self._store.directory(trial.number) / f"seed{seed}"
            if one.taken.resumed:
                _await_release(directory)
            config = with_threads(prepared.run(trial.values, seed), prepared.slots)
            on_event = partial(self._heard, trial, seed, directory, config.training.steps or 0)
            one.futures[seed] = self._pool.submit(config, directory, on_event=on_event)

    def _heard(self, trial: Trial, seed: int, directory: Path, planned_steps: int, event: Any) -> None:
        self._on_event(trial, seed, event)
        if self._pruning is not None:
            self._pruning.watch(trial.number, directory, planned_steps, event)

    def _wait(self) -> None:
        futures = [future for one in self._open.values() for future in one.futures.values() if not future.done()]
        if futures:
            wait(futures, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        elif not self._open:
            time.sleep(POLL_SECONDS)  # others run the last trials: theirs are ours if they are killed
        if self._pruning is not None:
            self._pruning.heed()
        for future in (future for one in self._open.values() for future in one.futures.values() if future.done()):
            future.result()  # a problem of the user's, and an interrupt, end the sweep
        for number in [number for number, one in self._open.items() if one.done]:
            self._finish(self._open[number])
            del self._open[number]

    def _finish(self, one: _Open) -> None:
        results = [future.result() for future in one.futures.values()]
        number = one.taken.trial.number
        runs = [self._pruning.outcome(number, r) if self._pruning else RunOutcome.of(r) for r in results]
        value = trial_value(self._prepared.config.objective, runs)
        ended = self._store.finish(number, value, runs)
        one.taken.claim.release()
        self._summarise()
        if self._on_trial:
            self._on_trial(ended, self._store.trials())

    def _summarise(self) -> None:
        """Write the summary, unless that would take more of the time than it may; then it is owed."""
        begun = time.monotonic()
        self._owed = begun < self._next_summary
        if not self._owed:
            _write_summary(self._prepared, self._store)
            ended = time.monotonic()
            self._next_summary = ended + (ended - begun) * (1 / SUMMARY_SHARE - 1)

    def _others_run(self) -> bool:
        trials = self._store.trials()
        self._on_look(trials)
        return any(not trial.ended for trial in trials[: self._prepared.total])


def _store(prepared: PreparedSweep) -> TrialStore:
    return TrialStore(prepared.directory, prepared.space, minimize=minimizes(prepared.config.objective))


def _start_over(prepared: PreparedSweep) -> None:
    """Remove the trials that are there.

    Raises:
        RunDirectoryError: A process is running one of them.
    """
    store = _store(prepared)
    with store.locked():
        if store.in_use():
            hint = "Wait for it, stop it, or choose another --output."
            raise RunDirectoryError("another process is sweeping here.", where=str(prepared.directory), hint=hint)
        remove_trials(prepared.directory)


def _await_release(directory: Path) -> None:
    """Wait until the process of a run whose sweep was killed has saved it and gone."""
    if not directory.exists():
        return
    with explain_os_errors(directory):
        lock = FileLock(directory / "claim.lock", timeout=CLAIM_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            return  # the run itself says who holds it
        lock.release()


def _write_summary(prepared: PreparedSweep, store: TrialStore) -> Summary:
    with store.locked():
        summary = summarise(prepared.config, prepared.space, prepared.probe, prepared.directory, store.trials())
        write(summary, prepared.config)
    return summary
