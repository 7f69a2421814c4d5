"""A comparison, from its config to the results of all its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError
from grng.experiments import preflight
from grng.experiments.calibrate import Measured, calibrate
from grng.experiments.compare_config import CompareConfig
from grng.experiments.compare_record import record_of
from grng.experiments.gathering import Gathering, RunEvent
from grng.experiments.in_notebook import ComparisonInNotebook
from grng.experiments.machine import are_here, check_budget, check_place, executor_for, slots_for, with_threads
from grng.experiments.plan import PlannedRun, check_directory, directory_of, plan, rows
from grng.experiments.pool.executor import Executor
from grng.experiments.pool.slots import Slot
from grng.experiments.record import Calibration, read_record
from grng.experiments.sweeps.plan import PreparedSweep
from grng.experiments.tuning.config import TuneConfig
from grng.experiments.tuning.plan import at_probe, check_tune, placed, sweeps_of
from grng.experiments.tuning.tune import check_target, expected, tune, with_known_target
from grng.runs.collection import collection_put_off
from grng.runs.index import RunIndex
from grng.runs.schema import Locate

if TYPE_CHECKING:
    from grng.runs.result import RunResult


@dataclass(frozen=True)
class Comparison(ComparisonInNotebook):
    """What a comparison has come to; a notebook shows it as a table.

    Args:
        directory: The experiment's directory; `grng.report.load.load_experiment` reads it.
        runs: Its runs, in the order in which they were begun.
        results: The result of each.
    """

    directory: Path
    runs: tuple[PlannedRun, ...]
    results: tuple[RunResult, ...]

    @property
    def failed(self) -> list[PlannedRun]:
        """The runs that crashed or ran out of memory; diverged ones have not failed."""
        return [run for run, result in zip(self.runs, self.results, strict=True) if result.status == "failed"]


@dataclass(frozen=True)
class Prepared:
    """A comparison whose settings have been found good; nothing is written yet.

    Args:
        config: The comparison.
        locate: Where its keys were given.
        directory: Where it goes.
        slots: What its workers get; empty: the runs are done in this process.
        labels: Its rows.
        notes: Lines on the model: weights loaded, what is frozen.
        sweeps: By label, of the rows that are to be tuned first.
        tune: How the rows are tuned, or have been.
        index: What is in the directory already.
        planned: The runs, where they are known before anything is tuned or measured.
        complete: Whether all of them have their results, and none is to be done again.
    """

    config: CompareConfig
    locate: Locate | None
    directory: Path
    slots: tuple[Slot, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    sweeps: Mapping[str, PreparedSweep] = field(default_factory=dict)
    tune: TuneConfig = field(default_factory=TuneConfig)
    index: RunIndex | None = field(default=None, compare=False, repr=False)
    planned: tuple[PlannedRun, ...] = field(default=(), compare=False, repr=False)
    complete: bool = False


def prepare(
    config: CompareConfig,
    *,
    locate: Locate | None = None,
    download: bool = True,
    seen: preflight.DataSeen | None = None,
    rerun: bool = False,
) -> Prepared:
    """Check everything that can be checked before a run begins.

    Where all runs are there, no model is built and no data set opened: nothing will be trained.

    Args:
        config: The comparison.
        locate: Where a key of it was given, for messages (`Loaded.locate`).
        download: Whether pretrained weights may be fetched.
        seen: What is known of data sets already, from the checks of other workloads; added to.
        rerun: Whether runs that have a result will be done again.

    Raises:
        GrngError: Names, hyperparameters, model, device or directory do not do.
    """
    if (config.machine.processes or 1) > 1:
        raise GrngError(
            "a comparison does not share a run out over processes.",
            where="machine.processes",
            hint="Leave it out; several runs go at once, each in a process of its own. Or use grng train --processes.",
        )
    check_budget(config.pool, config.training.seconds)
    check_target(config, locate)
    config = with_known_target(config)
    sweeps = sweeps_of(config, locate=locate)
    configs = rows(at_probe(config, sweeps), locate=locate)
    slots = slots_for(config.workers, config.machine, config.pool, locate=locate)
    directory = directory_of(config, configs)
    check_tune(directory, read_record(directory), config)
    planned = () if config.training.seconds or sweeps else tuple(plan(config, locate=locate))
    index = RunIndex(directory)
    stored = check_directory(directory, planned, index)
    complete = bool(planned) and len(stored) == len(planned) and not rerun
    check_place(slots, config.pool, directory)
    sweeps = placed(sweeps, directory, check=not config.training.seconds)
    here = are_here(slots, config.pool)
    notes: tuple[str, ...] = ()
    if not complete:
        notes = preflight.check(configs.values(), download=download, seen=seen, here=here)
    elif here:
        preflight.check_machine(next(iter(configs.values())))
    notes = tuple(dict.fromkeys([*notes, *(note for one in sweeps.values() for note in one.notes)]))
    return Prepared(
        config, locate, directory, slots, tuple(configs), notes, sweeps, config.tune, index, planned, complete
    )


def planned_now(prepared: Prepared) -> list[PlannedRun]:
    """Return the runs as they would be begun; a budget in seconds is measured for that, nothing is written.

    Rows that are still to be tuned have some values of their space.
    """
    prepared, _ = expected(prepared)
    calibrations = _calibrations(prepared, None)
    return plan(prepared.config, steps={label: one.steps for label, one in calibrations.items()})


def _calibrations(prepared: Prepared, on_calibrated: Measured | None) -> dict[str, Calibration]:
    seconds = prepared.config.training.seconds
    if not seconds:
        return {}
    configs = {label: with_threads(config, prepared.slots) for label, config in rows(prepared.config).items()}
    return calibrate(
        configs, seconds=seconds, directory=prepared.directory, slots=prepared.slots, on_measured=on_calibrated
    )


def compare(
    config: CompareConfig | Prepared,
    *,
    on_event: RunEvent | None = None,
    on_plan: Callable[[Sequence[PlannedRun]], None] | None = None,
    on_calibrated: Measured | None = None,
    rerun: bool = False,
    executor: Executor | None = None,
) -> Comparison:
    """Do all runs of a comparison that are not there already, its rows' tuning first.

    Args:
        config: The comparison, prepared or not.
        on_event: Receives every run's events.
        on_plan: Receives the runs before the first one begins.
        on_calibrated: Receives label and calibration of each row, when the budget is in seconds.
        rerun: Do runs again that have a result.
        executor: What runs them; default: processes on this machine.

    Raises:
        GrngError: Something for the user to mend; what had not ended is told to save itself.
        KeyboardInterrupt: As above.
    """
    prepared = config if isinstance(config, Prepared) else prepare(config, rerun=rerun)
    with executor or executor_for(prepared.slots, prepared.config.pool) as pool:
        prepared = tune(prepared, rerun=rerun, executor=pool)
        config = prepared.config
        calibrations = _calibrations(prepared, on_calibrated)
        steps = {label: one.steps for label, one in calibrations.items()}
        index = prepared.index or RunIndex(prepared.directory)
        with collection_put_off():
            planned = prepared.planned or plan(config, steps=steps, locate=prepared.locate)
            stored = check_directory(prepared.directory, planned, index)
        stored = {} if rerun else stored
        record = record_of(prepared, calibrations, all_there=len(stored) == len(planned), rerun=rerun)
        record.save(prepared.directory)
        index.save()
        if on_plan:
            on_plan(planned)
        listen = on_event or (lambda run, event: None)
        results = Gathering(planned, stored, pool, prepared.slots, listen, rerun).run()
    return Comparison(prepared.directory, tuple(planned), tuple(results))
