"""Run directories -> an `Experiment`. Directories are the only source: a report needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from grng.errors import GrngError, UnknownNameError, suggest
from grng.report.checks import few
from grng.report.reading import CONFIG, EXPERIMENT, METRICS, RESULT, SWEEP, is_run_directory, read_mapping, read_run
from grng.report.records import Experiment, Run
from grng.report.tuning import RowTuning
from grng.report.tuning_curves import read_curves
from grng.report.tuning_rows import read_tunings, tuning_of_rows
from grng.report.variants import tell_apart
from grng.runs.collection import collection_put_off
from grng.runs.identity import directory_name
from grng.runs.index import RunIndex

OnRead = Callable[[int, int], None]
"""Receives how many of how many runs have been read."""

Indexes = Mapping[Path, RunIndex]
"""By experiment directory."""

DEFAULT_REFERENCE = "adamw"
_OF_A_RUN = frozenset((RESULT, METRICS, CONFIG))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What `experiment.yaml` says; empty where it says nothing usable."""

    labels: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    reference: str | None = None
    workers: int | None = None
    warnings: tuple[str, ...] = ()
    tuning: Mapping[tuple[Path, str], RowTuning] = field(default_factory=dict)
    """By experiment and name of the row's directory."""


@dataclass(frozen=True, slots=True)
class Found:
    """Runs that were found together.

    Attributes:
        root: Their experiment directory; None outside of any.
        plan: What its `experiment.yaml` says.
        runs: Those found or planned.
    """

    root: Path | None
    plan: _Plan
    runs: list[Run]


def load_experiment(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    reference: str | None = None,
    on_read: OnRead | None = None,
    indexes: Indexes | None = None,
) -> Experiment:
    """Read every run in and below `paths` (experiment directories, run directories, or folders of them).

    An `experiment.yaml` says which rows and seeds there should be, in which order, and the reference: what is planned
    and not there is a run of status missing, what is there and not planned is left out with a warning. Without one,
    rows come in the order in which their first runs were made.

    Args:
        paths: One directory, or several.
        reference: Label of the row that others are compared with; None: as the experiment says, else adamw, else the
            first row.
        on_read: Is told of every run that has been read.
        indexes: What is known of experiment directories already: runs that have not changed are not read again.

    Raises:
        UnknownNameError: `reference` is no row.
        GrngError: A path is no directory or holds no run, or the runs are of several models or data sets.
    """
    found = collect(as_paths(paths), on_read=on_read, indexes=indexes)
    _check_one_workload([run for one in found for run in one.runs])
    return assemble(found, reference)


def as_paths(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return one path or several as a list.

    Raises:
        GrngError: There is none.
    """
    given = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
    if not given:
        raise GrngError("no directory was given", hint="Name one or more experiment or run directories.")
    return given


def collect(paths: Sequence[Path], *, on_read: OnRead | None = None, indexes: Indexes | None = None) -> list[Found]:
    """Return what is in and below `paths`, by experiment directory.

    Args:
        paths: Directories.
        on_read: Is told of every run that has been read.
        indexes: What is known of experiment directories already.

    Raises:
        GrngError: A path is no directory or holds no run.
    """
    directories: list[tuple[Path | None, list[Path]]] = []
    for path in paths:
        of_root: dict[Path | None, list[Path]] = {}
        for root, directory in _walk(path):
            of_root.setdefault(root, []).extend([directory] if directory else [])
        if not of_root:
            raise nothing_found(path)
        directories += of_root.items()
    total = sum(len(each) for _, each in directories)
    done = count(1)

    def told(directory: Path) -> Path:
        if on_read is not None:
            on_read(next(done), total)
        return directory

    with collection_put_off():
        return [_read_root(root, map(told, each), indexes or {}) for root, each in directories]


def _walk(path: Path) -> Iterator[tuple[Path | None, Path | None]]:
    """Yield (experiment root or None, run directory) in and below `path`; (root, None) for each root itself."""
    if not path.is_dir():
        problem = "is not a directory" if path.exists() else "does not exist"
        raise GrngError(problem, where=str(path), hint="Give an experiment's or a run's directory.")
    owners: dict[Path, Path | None] = {}
    for name, folders, files in os.walk(path):
        directory = Path(name)
        owner = owners.get(directory.parent)
        if (
            directory != path and SWEEP in files and (directory / SWEEP).is_file()
        ):  # trials are no runs of an experiment
            folders.clear()
            continue
        if EXPERIMENT in files and (directory / EXPERIMENT).is_file():
            owner = directory
            yield owner, None
        elif not _OF_A_RUN.isdisjoint(files) and is_run_directory(directory):
            # A run alone, given as a path: its experiment does not matter.
            yield owner, directory
            folders.clear()
        owners[directory] = owner
        # Folders that begin with a dot are calibrations and other things aside.
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))


def nothing_found(path: Path) -> GrngError:
    """Return the error about a path without an experiment or a run."""
    return GrngError(
        "holds neither an experiment nor a run",
        where=str(path),
        hint=f"Looked in it and below for {EXPERIMENT}, {RESULT}, {METRICS}, and a run's {CONFIG}.",
    )


def _read_root(root: Path | None, directories: Iterable[Path], indexes: Indexes) -> Found:
    """Read the runs of one experiment directory and hold them against its plan."""
    index = None if root is None else indexes.get(root) or RunIndex(root)
    runs = [read_run(directory, root, index) for directory in directories]
    if root is None or index is None:
        return Found(root, _Plan(), runs)
    index.save()
    plan = _read_plan(root / EXPERIMENT)
    planned = [(label, seed) for seed in plan.seeds for label in plan.labels]
    if not planned:
        return Found(root, plan, runs)
    wanted = set(planned)
    # A run whose config is damaged too is known by its directory alone, whose name is made from the label.
    by_folder = {directory_name(label): label for label in plan.labels}
    runs = [
        run if run.result or run.label in plan.labels else replace(run, label=by_folder.get(run.label, run.label))
        for run in runs
    ]
    kept = [run for run in runs if (run.label, run.seed) in wanted]
    aside = [run for run in runs if (run.label, run.seed) not in wanted]
    if aside:
        text = f"{root} also holds {few(run.name for run in aside)}: not part of this experiment, left out"
        plan = replace(plan, warnings=(*plan.warnings, text))
    there = {(run.label, run.seed) for run in kept}
    missing = [
        Run(root / directory_name(label) / f"seed{seed}", label, seed, "missing", root=root)
        for label, seed in planned
        if (label, seed) not in there
    ]
    return Found(root, plan, kept + missing)


def _read_plan(path: Path) -> _Plan:
    value = read_mapping(path)
    optimizers, seeds = value.get("optimizers"), value.get("seeds")
    reference, workers = value.get("reference"), value.get("workers")
    if not (isinstance(optimizers, list) and isinstance(seeds, list)) or not (
        _all(optimizers, str) and _all(seeds, int)
    ):
        return _Plan(warnings=(f"{path} cannot be read; rows and seeds are those of the runs that are there",))
    tuning, unread = read_tunings(value.get("tuning"), path)
    return _Plan(
        tuple(optimizers),
        tuple(seeds),
        reference if isinstance(reference, str) else None,
        workers if isinstance(workers, int) else None,
        tuple(unread),
        tuning,
    )


def _all(items: list[object], kind: type) -> bool:
    return bool(items) and all(isinstance(item, kind) for item in items)


def assemble(found: Sequence[Found], reference: str | None) -> Experiment:
    """Return the experiment that runs of one workload make up.

    Args:
        found: From `collect`.
        reference: As `load_experiment` takes it.

    Raises:
        UnknownNameError: `reference` is no row.
    """
    runs = [run for one in found for run in one.runs]
    plans = [one.plan for one in found]
    warnings = [warning for plan in plans for warning in plan.warnings]
    # "Order of appearance": when it was made; a run without a result comes last, and in the order of its path.
    runs.sort(key=lambda run: (run.result is None, run.result.created.timestamp() if run.result else 0.0))
    runs, doubled = tell_apart(runs)
    warnings += doubled
    labels = _order([run.label for run in runs], [label for plan in plans for label in plan.labels])
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    place = {label: index for index, label in enumerate(labels)}
    runs.sort(key=lambda run: (place[run.label], run.seed is None, run.seed or 0))
    wanted = reference or next((plan.reference for plan in plans if plan.reference), None) or DEFAULT_REFERENCE
    chosen = wanted if wanted in place else next((label for label in labels if label.startswith(f"{wanted}[")), None)
    if reference is not None and reference not in place:
        hint = suggest(reference, labels, otherwise=f"The rows are {', '.join(labels)}.")
        raise UnknownNameError(f"the reference {reference!r} is no row of this table", where="--reference", hint=hint)
    workers = max((plan.workers for plan in plans if plan.workers is not None), default=None)
    tuning, sweeps = tuning_of_rows(labels, runs, {place: one for plan in plans for place, one in plan.tuning.items()})
    return Experiment(
        tuple(runs),
        tuple(labels),
        tuple(seeds),
        chosen or labels[0],
        workers,
        tuple(warnings),
        tuning,
        read_curves(sweeps),
    )


def _order(present: Sequence[str], planned: Sequence[str]) -> list[str]:
    """Return the labels that are present, those planned first and in the plan's order, variants beside their label."""
    rank = {label: index for index, label in reversed(list(enumerate(planned)))}

    def key(label: str) -> int:
        return rank.get(label, rank.get(label.partition("[")[0], len(rank)))

    return sorted(dict.fromkeys(present), key=key)


def _check_one_workload(runs: Iterable[Run]) -> None:
    """Refuse to average over different models or data sets."""
    places: dict[str, Path] = {}
    for run in runs:
        if run.result is not None:
            places.setdefault(f"{run.result.model} on {run.result.dataset}", run.root or run.directory)
    if len(places) > 1:
        listing = "; ".join(f"{workload} (in {place})" for workload, place in places.items())
        raise GrngError(
            f"the runs are of several models or data sets: {listing}",
            hint="Read them with load_workloads: one table each, and one over all.",
        )
