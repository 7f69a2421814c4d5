"""A sweep, from its config to the best configuration: trials are begun as workers become free."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from grng.errors import ConfigError, GrngError, RunDirectoryError
from grng.experiments import preflight, samplers, sweep_record
from grng.experiments.executor import Executor
from grng.experiments.machine import executor_for, slots_for, with_threads
from grng.experiments.objectives import RunOutcome, minimizes, needs_target, trial_value
from grng.experiments.slots import Slot
from grng.experiments.space_grammar import Real
from grng.experiments.spaces import Space, check_together, run_config, space_of
from grng.experiments.sweep_config import DEFAULT_TRIALS, SweepConfig
from grng.experiments.sweep_summary import Summary, summarise, write
from grng.experiments.trials import Taken, Trial, TrialStore, remove_trials
from grng.runs.config import RunConfig
from grng.runs.files import explain_os_errors
from grng.runs.schema import Locate

if TYPE_CHECKING:
    from grng.runs.result import RunResult

POLL_SECONDS = 0.5
"""Between two looks at the trials of other processes."""

CLAIM_SECONDS = 15.0
"""How long a run whose sweep was killed may take to save itself before its trial goes on here."""

MAX_GRID = 1000
"""Combinations of a grid that are tried without being asked for by number."""

RunEvent = Callable[[Trial, int, Any], None]
"""Receives trial, seed and event (`grng.training.events`) of every run; from any thread."""

TrialEvent = Callable[[Trial, "list[Trial]"], None]
"""Receives a trial that has ended, and all trials of the folder."""


@dataclass(frozen=True)
class PreparedSweep:
    """A sweep whose settings have been found good; nothing is written yet.

    Args:
        config: The sweep.
        space: What is searched.
        probe: A resolved run within the space.
        directory: Where it goes.
        total: Trials in all.
        slots: What its workers get; empty: the runs are done in this process.
        notes: Lines on the model: weights loaded, what is frozen.
    """

    config: SweepConfig
    space: Space
    probe: RunConfig
    directory: Path
    total: int
    slots: tuple[Slot, ...]
    notes: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        """Runs at once."""
        return max(1, len(self.slots))

    def run(self, values: dict[str, Any], seed: int) -> RunConfig:
        """Return the resolved config of a run with the values of a trial."""
        return run_config(self.config, values, seed=seed)

    def propose(self, number: int, trials: Any) -> dict[str, Any]:
        """Return the values of trial `number`."""
        config = self.config
        minimize = minimizes(config.objective)
        return samplers.propose(
            config.sampler, self.space, seed=config.seed, number=number, trials=trials, minimize=minimize
        )


def prepare(config: SweepConfig, *, locate: Locate | None = None, download: bool = True) -> PreparedSweep:
    """Check everything that can be checked before a trial begins; nothing is written.

    Args:
        config: The sweep.
        locate: Where a key of it was given, for messages (`Loaded.locate`).
        download: Whether data and pretrained weights may be fetched.

    Raises:
        GrngError: Names, space, model, device or directory do not do.
    """
    space = space_of(config, locate=locate)
    probe = check_together(config, space, locate=locate)
    total = _total(config, space, locate)
    if needs_target(config.objective) and probe.training.target is None:
        where = locate(("objective",)) if locate else "objective"
        message = f"{config.objective} needs a validation accuracy to reach, and {probe.dataset.name} has none."
        raise GrngError(message, where=where, hint="Give training.target (--target).")
    slots = slots_for(config.workers, config.machine)
    directory = config.output or sweep_record.default_directory(config, space, probe)
    sweep_record.check_folder(directory, sweep_record.described(config, space, probe))
    notes = preflight.check([probe], download=download)
    if config.objective == "time-to-target" and any(slot.time_shared for slot in slots):
        notes = (*notes, "note: times of runs that share cores or a GPU mean little; use --workers 1")
    return PreparedSweep(config, space, probe, directory, total, slots, notes)


def sweep(
    config: SweepConfig | PreparedSweep,
    *,
    on_trial: TrialEvent | None = None,
    on_event: RunEvent | None = None,
    rerun: bool = False,
    executor: Executor | None = None,
) -> Summary:
    """Do all trials of a sweep that are not there already, beside other processes that sweep into the same directory.

    Args:
        config: The sweep, prepared or not.
        on_trial: Called with every trial that ends here, and all trials so far; at first with each of those that
            had ended before, and the ones before it.
        on_event: Receives every run's events.
        rerun: Throw away the trials that are there.
        executor: What runs them; default: processes on this machine.

    Returns:
        The summary, as stored in `sweep.json`.

    Raises:
        GrngError: Something for the user to mend; what had not ended is told to save itself.
        KeyboardInterrupt: As above.
    """
    prepared = config if isinstance(config, PreparedSweep) else prepare(config)
    directory = prepared.directory
    sweep_record.write_record(directory, sweep_record.described(prepared.config, prepared.space, prepared.probe))
    if rerun:
        _start_over(prepared)
    store = _store(prepared)
    earlier = store.trials()
    if on_trial:
        for index, trial in enumerate(earlier):
            if trial.ended:
                on_trial(trial, earlier[: index + 1])
    with ExitStack() as stack:
        pool = stack.enter_context(executor or executor_for(prepared.slots))
        _Sweeper(prepared, store, pool, on_trial, on_event).run()
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
    ) -> None:
        self._prepared = prepared
        self._store = store
        self._pool = pool
        self._on_trial = on_trial
        self._on_event = on_event or (lambda trial, seed, event: None)
        self._open: dict[int, _Open] = {}

    def run(self) -> None:
        """Go on until all trials have ended, here or in another process."""
        try:
            while self._begin() or self._open or self._others_run():
                self._wait()
        finally:
            for one in self._open.values():
                one.taken.claim.release()

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
            directory = self._store.directory(trial.number) / f"seed{seed}"
            if one.taken.resumed:
                _await_release(directory)
            config = with_threads(prepared.run(trial.values, seed), prepared.slots)
            one.futures[seed] = self._pool.submit(config, directory, on_event=partial(self._on_event, trial, seed))

    def _wait(self) -> None:
        futures = [future for one in self._open.values() for future in one.futures.values() if not future.done()]
        if futures:
            wait(futures, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        elif not self._open:
            time.sleep(POLL_SECONDS)  # others run the last trials: theirs are ours if they are killed
        for future in (future for one in self._open.values() for future in one.futures.values() if future.done()):
            future.result()  # a problem of the user's, and an interrupt, end the sweep
        for number in [number for number, one in self._open.items() if one.done]:
            self._finish(self._open[number])
            del self._open[number]

    def _finish(self, one: _Open) -> None:
        runs = [RunOutcome.of(future.result()) for future in one.futures.values()]
        value = trial_value(self._prepared.config.objective, runs)
        ended = self._store.finish(one.taken.trial.number, value, runs)
        one.taken.claim.release()
        _write_summary(self._prepared, self._store)
        if self._on_trial:
            self._on_trial(ended, self._store.trials())

    def _others_run(self) -> bool:
        return any(not trial.ended for trial in self._store.trials()[: self._prepared.total])


def _total(config: SweepConfig, space: Space, locate: Locate | None) -> int:
    """Return the number of trials in all.

    Raises:
        ConfigError: A grid of what cannot be counted, or smaller than the trials asked for, or huge.
    """
    if config.sampler != "grid":
        return config.trials or DEFAULT_TRIALS
    where = locate(("sampler",)) if locate else "sampler"
    size = samplers.grid_size(space)
    if size is None:
        names = [f"{name}: {one}" for name, one in space.items() if isinstance(one, Real)]
        hint = "Give the values, --space 'NAME=choice(…)', or choose another sampler."
        raise ConfigError([GrngError(f"a grid needs values, not ranges: {', '.join(names)}.", where=where, hint=hint)])
    if config.trials is None and size > MAX_GRID:
        raise ConfigError(
            [GrngError(f"the grid has {size:,} combinations.", where=where, hint="Say how many to try: --trials N.")]
        )
    if config.trials is not None and config.trials > size:
        where = locate(("trials",)) if locate else "trials"
        hint = f"Give --trials {size}, or leave it out."
        raise ConfigError([GrngError(f"the grid has only {size} combinations.", where=where, hint=hint)])
    return config.trials or size


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
