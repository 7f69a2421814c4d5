"""The trials of a sweep on disk: Optuna's journal, shared by all processes that sweep into the same folder.

A trial is one line of the journal when it begins, number and values at once. Whoever runs it holds the lock of its
directory; the operating system lets go of it when the process ends, however it ends, so that a trial which runs and is
held by nobody is taken up by the next process that looks, and its run directories go on where they stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from grng.errors import RunDirectoryError
from grng.experiments.sweeps.ended import JOURNAL
from grng.experiments.sweeps.objectives import RunOutcome, trial_status
from grng.experiments.sweeps.samplers import distribution, from_optuna, quiet_optuna, to_optuna
from grng.experiments.sweeps.spaces import Space
from grng.runs.files import explain_os_errors

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial

FOLDER = "trials"
LOCK = "sweep.lock"

_STUDY = "sweep"
_RUNS = "runs"

Propose = Callable[[int, "Sequence[FrozenTrial]"], dict[str, Any]]
"""Returns the values of the trial of a number, given the trials before it."""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Args:
        number: From 0, in the order in which trials were begun.
        values: What is tried, by name.
        value: The objective, of a trial that was pruned its last one; None while it runs.
        runs: What came of its runs; empty while it runs.
    """

    number: int
    values: dict[str, Any]
    value: float | None
    runs: tuple[RunOutcome, ...]

    @property
    def ended(self) -> bool:
        """Whether it has its value."""
        return self.value is not None

    @property
    def status(self) -> str:
        """Running, finished, pruned, diverged or failed."""
        return trial_status(self.runs) if self.ended else "running"

    @property
    def val_accuracy(self) -> float | None:
        """The mean validation accuracy of its runs; None where one has none."""
        found = [run.val_accuracy for run in self.runs]
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None


@dataclass(frozen=True)
class Taken:
    """A trial that this process is to run.

    Args:
        trial: The trial.
        claim: Held while it runs.
        resumed: Whether another process, or an earlier call, had begun it.
    """

    trial: Trial
    claim: FileLock
    resumed: bool


class TrialStore:
    """The trials of one sweep.

    Args:
        folder: The sweep's directory; it exists.
        space: What is searched.
        minimize: Whether small values are good.
    """

    def __init__(self, folder: Path, space: Space, *, minimize: bool) -> None:
        self.folder = folder
        self.space = space
        self.minimize = minimize
        self._frozen: list[FrozenTrial] = []
        self._trials: list[Trial] = []
        self._running: set[int] = set()
        # Of the operating system: a process that is killed holds it no longer. Optuna's own waits for 30 s then.
        self._lock = FileLock(folder / LOCK, thread_local=False)
        with self.locked():
            self._mend()
            self._study = self._open()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from the journal, the summary and the best config."""
        with explain_os_errors(self.folder):
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def directory(self, number: int) -> Path:
        """Return where the runs of a trial go."""
        return self.folder / FOLDER / f"{number:04d}"

    def trials(self) -> list[Trial]:
        """Return all trials, in the order of their numbers."""
        with self.locked():
            self._look()
            return list(self._trials)

    def take(self, total: int, propose: Propose) -> Taken | None:
        """Take up a trial that its process left behind, else begin the next one; None: there is nothing to do.

        Args:
            total: Trials in all.
            propose: Says what to try next.
        """
        with self.locked():
            self._look()
            for number in sorted(self._running):
                if number < total and (claim := self._claim(number)) is not None:
                    return Taken(self._trials[number], claim, resumed=True)
            number = len(self._trials)
            if number >= total:
                return None
            values = propose(number, self._frozen)
            claim = self._claim(number)
            if claim is None:  # somebody threw the journal away while trials ran
                raise RunDirectoryError(
                    "is in use by another process.", where=str(self.directory(number)), hint="Wait for it."
                )
            self._add(values)
            return Taken(Trial(number, values, None, ()), claim, resumed=False)

    def report(self, number: int, step: int, value: float, pruner: BasePruner) -> bool:
        """Write down a value that a trial has on its way, at most once a step; return whether `pruner` gives it up."""
        with self.locked(), quiet_optuna(), explain_os_errors(self.folder / JOURNAL):
            one = self._stored(number)
            if step not in one.intermediate_values:  # a run that was resumed may come by again
                self._study._storage.set_trial_intermediate_value(one._trial_id, step, value)
            return pruner.prune(self._study, self._stored(number))

    def finish(self, number: int, value: float, runs: Sequence[RunOutcome]) -> Trial:
        """Write down what came of a trial."""
        from optuna.trial import TrialState

        with self.locked(), quiet_optuna(), explain_os_errors(self.folder / JOURNAL):
            self._look()
            one = self._stored(number)
            self._study._storage.set_trial_user_attr(one._trial_id, _RUNS, [run.stored() for run in runs])
            if trial_status(runs) == "pruned":
                value = one.intermediate_values[max(one.intermediate_values)]
                self._study.tell(number, state=TrialState.PRUNED)
            else:
                self._study.tell(number, value)
        return Trial(number, self._trials[number].values, value, tuple(runs))

    def in_use(self) -> bool:
        """Return whether a process is running one of the trials."""
        self._look()
        for number in range(len(self._trials)):
            claim = self._claim(number)
            if claim is None:
                return True
            claim.release()
        return False

    def _claim(self, number: int) -> FileLock | None:
        directory = self.directory(number)
        with explain_os_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            claim = FileLock(directory / "claim.lock", timeout=0, thread_local=False)
            try:
                claim.acquire()
            except Timeout:
                return None
        return claim

    def _open(self) -> Study:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        path = self.folder / JOURNAL
        with quiet_optuna(), explain_os_errors(path):
            try:
                # no subclass of Optuna's, which is loaded here at the earliest
                backend = JournalFileBackend(str(path), lock_obj=_Reentrant(self._lock))  # type: ignore[arg-type]
                return optuna.create_study(
                    storage=optuna.storages.JournalStorage(backend),
                    study_name=_STUDY,
                    direction="minimize" if self.minimize else "maximize",
                    load_if_exists=True,
                )
            except (ValueError, KeyError, TypeError):
                raise _damaged(path) from None

    def _mend(self) -> None:
        """Take off the end of a line that a machine which stopped did not write to its end."""
        path = self.folder / JOURNAL
        with explain_os_errors(path):
            if not path.exists():
                return
            content = path.read_bytes()
            if content and not content.endswith(b"\n"):
                os.truncate(path, content.rfind(b"\n") + 1)

    def _look(self) -> None:
        """Take in what the journal has that is new: of thousands of trials, only those that run and those begun since.

        Optuna itself gives out all trials or one.
        """
        storage, study = self._study._storage, self._study._study_id
        with explain_os_errors(self.folder / JOURNAL):
            if not self._frozen:
                for stored in self._study.get_trials(deepcopy=False):
                    self._take_in(stored)
                return
            for number in sorted(self._running):
                self._take_in(storage.get_trial(self._frozen[number]._trial_id))
            with suppress(KeyError):  # there is no further trial
                while True:
                    identity = storage.get_trial_id_from_study_id_trial_number(study, len(self._frozen))
                    self._take_in(storage.get_trial(identity))

    def _stored(self, number: int) -> FrozenTrial:
        """Return a trial as the journal has it now; also where another thread looks."""
        storage = self._study._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number))

    def _take_in(self, stored: FrozenTrial) -> None:
        number, trial = stored.number, _trial(stored, self.space)
        if number == len(self._frozen):
            self._frozen.append(stored)
            self._trials.append(trial)
        else:
            self._frozen[number], self._trials[number] = stored, trial
        if stored.state.is_finished():
            self._running.discard(number)
        else:
            self._running.add(number)

    def _add(self, values: dict[str, Any]) -> None:
        from optuna.trial import TrialState, create_trial

        with quiet_optuna(), explain_os_errors(self.folder / JOURNAL):
            self._study.add_trial(
                create_trial(
                    state=TrialState.RUNNING,
                    params=to_optuna(self.space, values),
                    distributions={name: distribution(one) for name, one in self.space.items()},
                )
            )


class _Reentrant:
    """The store's lock as Optuna's journal asks for it; the store holds it already, mostly."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def remove_trials(folder: Path) -> None:
    """Remove what earlier calls left of a sweep: `--rerun`."""
    import shutil

    with explain_os_errors(folder):
        if (folder / FOLDER).exists():
            shutil.rmtree(folder / FOLDER)
        for name in (JOURNAL, "best.yaml", "sweep.json"):
            (folder / name).unlink(missing_ok=True)


def read_trials(folder: Path, space: Space) -> list[Trial]:
    """Return the trials in `folder` without writing anything, for a dry run."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    path = folder / JOURNAL
    if not path.exists():
        return []
    with quiet_optuna(), explain_os_errors(path):
        try:
            study = optuna.load_study(
                storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))), study_name=_STUDY
            )
            return [_trial(stored, space) for stored in study.get_trials(deepcopy=False)]
        except (ValueError, KeyError, TypeError):
            raise _damaged(path) from None


def _damaged(path: Path) -> RunDirectoryError:
    return RunDirectoryError(
        "is damaged.", where=str(path), hint="Choose another --output, or start over with --rerun."
    )


def _trial(stored: FrozenTrial, space: Space) -> Trial:
    runs = tuple(RunOutcome(**run) for run in stored.user_attrs.get(_RUNS, []))
    value = stored.values[0] if stored.state.is_finished() and stored.values else None
    return Trial(stored.number, from_optuna(space, stored.params), value, runs if value is not None else ())
