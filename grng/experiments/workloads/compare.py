"""A comparison on several workloads: each an ordinary experiment in a directory of its own, one after the other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grng.errors import ConfigError, GrngError, RunDirectoryError
from grng.experiments.calibrate import Measured
from grng.experiments.compare import Comparison, Prepared, prepare
from grng.experiments.compare import compare as compare_one
from grng.experiments.compare_config import CompareConfig
from grng.experiments.gathering import RunEvent
from grng.experiments.given import as_config
from grng.experiments.in_notebook import ComparisonInNotebook
from grng.experiments.machine import slots_for
from grng.experiments.plan import PlannedRun, identity, rows
from grng.experiments.preflight import DataSeen
from grng.experiments.workloads.config import SECTIONS, completed
from grng.experiments.workloads.record import WorkloadsRecord, check_no_root, check_root
from grng.report.reading import WORKLOADS
from grng.runs.config import replace
from grng.runs.identity import directory_name, short_id
from grng.runs.index import RunIndex
from grng.runs.schema import Key, Locate
from grng.runs.sources import dotted

_OF_A_WORKLOAD = re.compile(rf"({'|'.join(SECTIONS)})(\.[a-z_]+)+")


@dataclass(frozen=True)
class Workload:
    """One model on one data set of a comparison.

    Args:
        name: None where it is the only one.
        config: The comparison on it alone.
        locate: Where its keys were given.
    """

    name: str | None
    config: CompareConfig
    locate: Locate | None


@dataclass(frozen=True)
class PreparedWorkloads:
    """A comparison that has been found good on every workload; nothing is written yet.

    Args:
        directory: Where it goes.
        names: Of its workloads; (None,) where there is one.
        each: The comparison on each of them.
    """

    directory: Path
    names: tuple[str | None, ...]
    each: tuple[Prepared, ...]

    @property
    def several(self) -> bool:
        """Whether there is more than one workload."""
        return len(self.each) > 1

    def save_names(self) -> None:
        """Write `workloads.yaml` where there are several workloads, before anything of them is.

        Raises:
            RunDirectoryError: The directory cannot be written to.
        """
        if not self.several:
            return
        first = self.each[0]
        WorkloadsRecord(
            workloads=[str(name) for name in self.names],
            optimizers=list(first.labels),
            seeds=list(first.config.seeds),
            reference=first.config.chosen_reference,
        ).save(self.directory)

    @property
    def complete(self) -> bool:
        """Whether all runs on all workloads have their results, and none is to be done again."""
        return all(one.complete for one in self.each)

    @property
    def indexes(self) -> dict[Path, RunIndex]:
        """What is in the directory of each workload, for `load_experiment` and `load_workloads`."""
        return {one.directory: one.index for one in self.each if one.index is not None}

    @property
    def run_count(self) -> int:
        """How many runs there are on all workloads."""
        return sum(len(one.labels) * len(one.config.seeds) for one in self.each)


@dataclass(frozen=True)
class Comparisons(ComparisonInNotebook):
    """What a comparison has come to on its workloads; a notebook shows it as a table of each.

    Args:
        directory: Its directory; `grng.report.workloads.load_workloads` reads it.
        workloads: The comparison on each, by name, in order; `model-dataset` unless it was given another name.
    """

    directory: Path
    workloads: dict[str, Comparison]

    @property
    def failed(self) -> list[PlannedRun]:
        """The runs that crashed or ran out of memory; diverged ones have not failed."""
        return [run for one in self.workloads.values() for run in one.failed]


def split(config: CompareConfig, *, locate: Locate | None = None) -> list[Workload]:
    """Return the comparison on each of its workloads; the directories of several are not settled yet.

    Args:
        config: The comparison.
        locate: Where a key of it was given, for messages.
    """
    if not config.workloads:
        return [Workload(None, config, locate)]
    made = completed(config)
    alone = len(made) == 1
    workloads = []
    for index, one in enumerate(made):
        training = one.training
        sections: dict[str, Any] = {"model": one.model, "dataset": one.dataset, "augment": one.augment}
        given = {} if training is None else {key: getattr(training, key) for key in training.model_fields_set}
        single = replace(config, workloads=None, training=given, **sections)
        single = _with_pilot(single, None if alone else one.name)
        workloads.append(Workload(None if alone else one.name, single, _locate_in(index, config, locate)))
    return workloads


def _with_pilot(config: CompareConfig, name: str | None) -> CompareConfig:
    """Take the pilot of a workload from the workload of that name, where the pilot has several."""
    pilot = config.planning.pilot
    if name is None or pilot is None or not (pilot / WORKLOADS).is_file():
        return config
    return replace(config, planning=replace(config.planning, pilot=pilot / directory_name(name)))


def _locate_in(index: int, config: CompareConfig, locate: Locate | None) -> Locate:
    """Return where a key of the comparison on workload `index` was given."""
    workload = (config.workloads or [])[index]

    def locate_key(key: Key) -> str:
        own = getattr(workload, str(key[0])) if key[0] in SECTIONS else None
        if own is not None and (len(key) == 1 or key[1] in own.model_fields_set or key[0] in ("model", "dataset")):
            key = ("workloads", index, *key)
        return locate(key) if locate else dotted(key)

    return locate_key


def prepare_workloads(
    config: CompareConfig, *, locate: Locate | None = None, download: bool = True, rerun: bool = False
) -> PreparedWorkloads:
    """Check everything that can be checked, on all workloads, before a run begins.

    Args:
        config: The comparison.
        locate: Where a key of it was given, for messages (`Loaded.locate`).
        download: Whether data and pretrained weights may be fetched.
        rerun: Whether runs that have a result will be done again.

    Raises:
        GrngError: Names, hyperparameters, models, device or directories do not do.
    """
    workloads = split(config, locate=locate)
    seen: DataSeen = {}
    if len(workloads) == 1:
        (only,) = workloads
        if only.config.output is not None:
            check_no_root(only.config.output)
        prepared = prepare(only.config, locate=only.locate, download=download, seen=seen, rerun=rerun)
        return PreparedWorkloads(prepared.directory, (None,), (prepared,))
    check_names(workloads)
    directory = config.output or Path("runs", f"compare-{short_id(_identity(workloads))}")
    check_root(directory)
    slots_for(config.workers, config.machine, config.pool, locate=locate)  # of no workload in particular
    each = []
    for one in workloads:
        placed = replace(one.config, output=directory / directory_name(one.name or ""))
        with _naming(one):
            each.append(prepare(placed, locate=one.locate, download=download, seen=seen, rerun=rerun))
    return PreparedWorkloads(directory, tuple(one.name for one in workloads), tuple(each))


def check_names(workloads: Sequence[Workload]) -> None:
    """Check names and settings of every workload's rows; nothing is built.

    Raises:
        ConfigError: With every problem of every workload.
    """
    problems: dict[str, GrngError] = {}
    for one in workloads:
        try:
            rows(one.config, locate=one.locate)
        except ConfigError as error:  # those of what is shared are the same on all workloads
            problems.update((str(problem), problem) for problem in error.problems)
    if problems:
        raise ConfigError(list(problems.values()))


def _identity(workloads: Sequence[Workload]) -> str:
    """Return the id of all workloads together: a hash of their names and runs."""
    lines = [f"{one.name} {identity(one.config, rows(one.config))}" for one in workloads]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


@contextmanager
def _naming(workload: Workload) -> Iterator[None]:
    """Tell which workload an error raised in the block is about."""
    try:
        yield
    except (ConfigError, RunDirectoryError):  # these say the file and line, or the directory
        raise
    except GrngError as error:
        where = error.where or ""
        if workload.locate and _OF_A_WORKLOAD.fullmatch(where):
            where = workload.locate(tuple(where.split(".")))
        if "workloads[" not in where:
            where = f"{workload.name}: {where}" if where else str(workload.name)
        raise type(error)(error.message, where=where, hint=error.hint) from error


def compare(
    config: CompareConfig | Mapping[str, Any],
    *,
    on_event: RunEvent | None = None,
    on_plan: Callable[[Sequence[PlannedRun]], None] | None = None,
    on_calibrated: Measured | None = None,
    rerun: bool = False,
) -> Comparison | Comparisons:
    """Do all runs of a comparison that are not there already; see `compare_workloads`.

    Args:
        config: The comparison, or its settings as in a YAML file: `{"optimizers": "adamw,ring", "seeds": 3}`.
        on_event: Receives every run's events.
        on_plan: Receives the runs of a workload before the first of them begins.
        on_calibrated: Receives label and calibration of each row, when the budget is in seconds.
        rerun: Do runs again that have a result.

    Returns:
        A `Comparison`; of several workloads `Comparisons`, which has one of each. Both have `.table()` (pandas) and
        `.plot()` (plotly), and show themselves in a notebook.

    Raises:
        GrngError: Something for the user to mend; what had not ended is told to save itself.
        KeyboardInterrupt: As above.
    """
    config = as_config(CompareConfig, config) if isinstance(config, Mapping) else config
    done = compare_workloads(config, on_event=on_event, on_plan=on_plan, on_calibrated=on_calibrated, rerun=rerun)
    return done if config.workloads and len(config.workloads) > 1 else next(iter(done.workloads.values()))


def compare_workloads(
    config: CompareConfig | PreparedWorkloads,
    *,
    on_workload: Callable[[str | None], None] | None = None,
    on_event: RunEvent | None = None,
    on_plan: Callable[[Sequence[PlannedRun]], None] | None = None,
    on_calibrated: Measured | None = None,
    rerun: bool = False,
) -> Comparisons:
    """Do all runs of a comparison that are not there already, one workload after the other.

    Args:
        config: The comparison, prepared or not.
        on_workload: Receives a workload's name before its runs begin; None where there is one workload.
        on_event: Receives every run's events.
        on_plan: Receives the runs of a workload before the first of them begins.
        on_calibrated: Receives label and calibration of each row, when the budget is in seconds.
        rerun: Do runs again that have a result.

    Raises:
        GrngError: Something for the user to mend; what had not ended is told to save itself.
        KeyboardInterrupt: As above.
    """
    prepared = config if isinstance(config, PreparedWorkloads) else prepare_workloads(config, rerun=rerun)
    prepared.save_names()
    done: dict[str, Comparison] = {}
    for name, one in zip(prepared.names, prepared.each, strict=True):
        if on_workload:
            on_workload(name)
        label = name or f"{one.config.model.name}-{one.config.dataset.name}"
        done[label] = compare_one(one, on_event=on_event, on_plan=on_plan, on_calibrated=on_calibrated, rerun=rerun)
    return Comparisons(prepared.directory, done)
