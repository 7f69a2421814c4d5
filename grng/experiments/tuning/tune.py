"""The tuning that a comparison begins with: one sweep a row, then the rows with the best values.

The sweeps are ordinary ones in `<experiment>/tuning/<row>/`: several processes share their trials, and what was cut off
goes on. `experiment.yaml` is written before the first trial, so that the directory is known for what it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from grng.errors import ConfigError, GrngError
from grng.experiments.budget import TUNED
from grng.experiments.calibrate import Measured, calibrate
from grng.experiments.compare_config import CompareConfig, Entry
from grng.experiments.compare_record import record_of
from grng.experiments.machine import executor_for, with_threads
from grng.experiments.plan import rows
from grng.experiments.pool.executor import Executor
from grng.experiments.record import Calibration, read_record
from grng.experiments.sweeps.ended import all_ended, ended_trials
from grng.experiments.sweeps.plan import PreparedSweep
from grng.experiments.sweeps.sweep import sweep
from grng.experiments.sweeps.trials import Trial, read_trials
from grng.experiments.tuning.config import TuneConfig
from grng.experiments.tuning.plan import Sweeps, at_probe, label, placed, sweeps_of
from grng.experiments.tuning.record import highest_accuracy, tuned_target
from grng.runs.config import replace
from grng.runs.schema import Locate

if TYPE_CHECKING:
    from grng.experiments.compare import Prepared

SweepEvent = Callable[[str, PreparedSweep, bool], None]
"""Receives label and sweep of a row whose turn has come, and whether all of its trials are there."""

TrialEvent = Callable[[str, Trial, "list[Trial]"], None]
"""Receives a row's label, a trial that has ended, and all trials of the row."""

Look = Callable[[str, "list[Trial]"], None]
"""Receives a row's label and all of its trials."""

TrialRunEvent = Callable[[str, Trial, int, Any], None]
"""Receives label, trial, seed and event of every run of a trial; from any thread."""


class NothingFoundError(GrngError):
    """A row none of whose trials finished."""

    exit_code = 1


def tune(
    prepared: Prepared,
    *,
    on_sweep: SweepEvent | None = None,
    on_trial: TrialEvent | None = None,
    on_event: TrialRunEvent | None = None,
    on_look: Look | None = None,
    on_calibrated: Measured | None = None,
    rerun: bool = False,
    executor: Executor | None = None,
) -> Prepared:
    """Do all trials of a comparison's rows that are not there already, and return it with the best values filled in.

    Args:
        prepared: The comparison; without rows to tune it is returned as it is.
        on_sweep: Receives each row as its turn comes.
        on_trial: Receives every trial that has ended.
        on_event: Receives the events of the trials' runs.
        on_look: Called again and again while other processes do the last trials of a row.
        on_calibrated: Receives label and calibration of each row's defaults, when the budget is in seconds.
        rerun: Throw away the trials that are there.
        executor: What runs them, and stays open; default: processes on this machine.

    Raises:
        GrngError: Something for the user to mend; what had not ended is told to save itself.
        KeyboardInterrupt: As above.
    """
    if not prepared.sweeps:
        return prepared
    calibrations = _calibrations(prepared, on_calibrated)
    sweeps: Sweeps = prepared.sweeps
    if calibrations:
        steps = {name: one.steps for name, one in calibrations.items()}
        sweeps = placed(sweeps_of(prepared.config, steps=steps, locate=prepared.locate), prepared.directory)
    there = {name: not rerun and is_complete(one) for name, one in sweeps.items()}
    if not all(there.values()):
        record = record_of(prepared, {}, all_there=False, rerun=rerun, tuning_calibrations=calibrations)
        record.save(prepared.directory)
    with ExitStack() as stack:
        pool = executor
        for name, one in sweeps.items():
            if on_sweep:
                on_sweep(name, one, there[name])
            if there[name]:
                continue
            pool = pool or stack.enter_context(executor_for(prepared.slots, prepared.config.pool))
            sweep(
                one,
                on_trial=partial(on_trial, name) if on_trial else None,
                on_event=partial(on_event, name) if on_event else None,
                on_look=partial(on_look, name) if on_look else None,
                rerun=rerun,
                executor=pool,
            )
    return filled(prepared, sweeps)


def is_complete(prepared: PreparedSweep) -> bool:
    """Return whether a sweep's summary says that all of its trials have ended."""
    return all_ended(prepared.directory, prepared.total)


def filled(prepared: Prepared, sweeps: Sweeps) -> Prepared:
    """Return a comparison with the best values of its rows' sweeps, ready to be run.

    Raises:
        NothingFoundError: No trial of some rows finished.
    """
    lost = [name for name, one in sweeps.items() if not ended_trials(one.directory).get("finished")]
    if lost:
        raise NothingFoundError(
            f"no trial of {', '.join(lost)} finished, so there are no values to report.",
            where=str(sweeps[lost[0]].directory),
            hint="Search smaller values: a space of your own in tune.spaces; or leave the row out.",
        )
    config = replace(
        prepared.config,
        optimizers=[_with_best(entry, sweeps) for entry in prepared.config.optimizers],
        tune=TuneConfig(),
        output=prepared.directory,
    )
    return dataclasses.replace(prepared, config=with_known_target(config), sweeps={})


def expected(prepared: Prepared) -> tuple[Prepared, frozenset[str]]:
    """Return a comparison as it will be run, as far as that is known, and the rows whose values are not.

    Those have some values of their space instead, for estimates.
    """
    if not prepared.sweeps:
        return prepared, frozenset()
    known = {
        name: one
        for name, one in prepared.sweeps.items()
        if is_complete(one) and ended_trials(one.directory).get("finished")
    }
    unknown = {name: one for name, one in prepared.sweeps.items() if name not in known}
    config = at_probe(prepared.config, unknown)
    config = replace(
        config,
        optimizers=[_with_best(entry, known) for entry in config.optimizers],
        tune=TuneConfig(),
        output=prepared.directory,
    )
    reference = prepared.config.chosen_reference
    if reference in unknown and config.training.target == TUNED:
        config = replace(config, training=replace(config.training, target=None))
    return dataclasses.replace(prepared, config=with_known_target(config), sweeps={}), frozenset(unknown)


def check_target(config: CompareConfig, locate: Locate | None = None) -> None:
    """Refuse a target that is to be told by a tuning that there is none of.

    Raises:
        ConfigError: The reference is neither tuned nor has a sweep.
    """
    if config.training.target != TUNED or config.tune.trials:
        return
    reference = config.chosen_reference
    if _sweep_of(config, reference) is None:
        key = ("training", "target")
        message = f"`tuned` needs a tuning of the reference {reference}, and there is none."
        hint = f"Add --tune N, name a sweep of it ({reference}@DIR), or give the target as a number."
        raise ConfigError([GrngError(message, where=locate(key) if locate else ".".join(key), hint=hint)])


def with_known_target(config: CompareConfig) -> CompareConfig:
    """Return the comparison with its target as a number where that is `tuned` and the reference's sweep is done.

    Raises:
        GrngError: That sweep does not tell it.
    """
    if config.training.target != TUNED:
        return config
    reference = config.chosen_reference
    folder = _sweep_of(config, reference)
    if folder is None:
        return config
    name = next(entry.name for entry in config.optimizers if label(entry) == reference)
    return replace(config, training=replace(config.training, target=tuned_target(folder, name)))


def target_warnings(prepared: Prepared) -> list[str]:
    """Return a warning where the target is above what any trial of a row had at its end, before the runs begin."""
    config = prepared.config
    sweeps = {label(entry): entry.sweep for entry in config.optimizers if entry.sweep is not None}
    target = next(iter(rows(config).values())).training.target if sweeps else None
    if target is None:
        return []
    highest = {name: highest_accuracy(folder) for name, folder in sweeps.items()}
    short = {name: value for name, value in highest.items() if value is not None and value < target}
    if not short:
        return []
    each = ", ".join(f"{name} {value:.3f}" for name, value in short.items())
    above = f"the target, {target:.4g} validation accuracy, is above what any trial had at its end"
    return [f"{above} ({each}): these rows may never reach it"]


@dataclasses.dataclass(frozen=True, slots=True)
class TrialsAhead:
    """What the tuning of one row takes.

    Attributes:
        sweep: The row's.
        done: Trials that have ended.
        runs: Runs of the trials that have not.
    """

    sweep: PreparedSweep
    done: int
    runs: int


def trials_ahead(prepared: Prepared) -> dict[str, TrialsAhead]:
    """Return what the tuning of each row takes, by label; nothing is written."""
    ahead = {}
    for name, one in prepared.sweeps.items():
        done = sum(trial.ended for trial in read_trials(one.directory, one.space)[: one.total])
        ahead[name] = TrialsAhead(one, done, (one.total - done) * one.config.tuning_seeds)
    return ahead


def _sweep_of(config: CompareConfig, name: str) -> Any:
    return next(entry.sweep for entry in config.optimizers if label(entry) == name)


def _with_best(entry: Entry, sweeps: Sweeps) -> Entry:
    one = sweeps.get(label(entry))
    if one is None:
        return entry
    spec = entry.spec
    given = {"name": spec.name, "label": spec.label, "sweep": one.directory, **spec.hyperparameters}
    return Entry.model_validate(given)


def _calibrations(prepared: Prepared, on_calibrated: Measured | None) -> Mapping[str, Calibration]:
    """Return the steps of the trials, by label: a budget in seconds at the rows' defaults."""
    seconds = prepared.config.training.seconds
    if not seconds:
        return {}
    record = read_record(prepared.directory)
    try:
        defaults = rows(prepared.config)
    except ConfigError:  # a hyperparameter without a default, which the space gives
        defaults = rows(at_probe(prepared.config, prepared.sweeps))
    return calibrate(
        {name: with_threads(defaults[name], prepared.slots) for name in prepared.sweeps},
        seconds=seconds,
        directory=prepared.directory,
        slots=prepared.slots,
        known=record.tuning_calibrations if record else {},
        on_measured=on_calibrated,
    )
