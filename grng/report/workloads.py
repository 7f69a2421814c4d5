"""Directories -> one experiment a workload: by `workloads.yaml`, or by the model and data set of the runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from grng.report.checks import few
from grng.report.load import Found, Indexes, OnRead, as_paths, assemble, collect, load_experiment, nothing_found
from grng.report.reading import CONFIG, EXPERIMENT, WORKLOADS, read_mapping
from grng.report.records import Experiment, Run
from grng.runs.identity import directory_name


@dataclass(frozen=True, slots=True)
class Workloads:
    """The experiments of one report, each of one model on one data set.

    Attributes:
        each: By name, in order.
        several: Whether it is a comparison over workloads, also where only one of them has begun.
        warnings: What was odd about the directories; sentences.
    """

    each: dict[str, Experiment]
    several: bool
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Every row of any workload, in order of appearance."""
        return tuple(dict.fromkeys(label for one in self.each.values() for label in one.labels))

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of all workloads."""
        return tuple(run for one in self.each.values() for run in one.runs)


def load_workloads(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    reference: str | None = None,
    on_read: OnRead | None = None,
    indexes: Indexes | None = None,
) -> Workloads:
    """Read every run in and below `paths`, and sort them by workload.

    A single directory with a `workloads.yaml` has the workloads that it names. Otherwise runs of one model on one data
    set are a workload, called "test_vit on digits"; of one model and data set alone this is `load_experiment`.

    Args:
        paths: One directory, or several.
        reference: Label of the row that others are compared with, on every workload; None: as each experiment says.
        on_read: Is told of every run that has been read, how many of how many, workload by workload.
        indexes: What is known of experiment directories already: runs that have not changed are not read again.

    Raises:
        UnknownNameError: `reference` is no row of some workload.
        GrngError: A path is no directory or holds no run.
    """
    given = as_paths(paths)
    warnings: list[str] = []
    if len(given) == 1 and (given[0] / WORKLOADS).is_file():
        names = _names(given[0] / WORKLOADS)
        if names:
            return _named(given[0], names, reference, on_read, indexes)
        warnings.append(f"{given[0] / WORKLOADS} cannot be read; workloads are told by model and data set")
    found = collect(given, on_read=on_read, indexes=indexes)
    groups, lost = _grouped(found)
    if len(groups) < 2:
        experiment = assemble(found, reference)
        experiment = replace(experiment, warnings=(*experiment.warnings, *warnings))
        return Workloads({next(iter(groups), "any"): experiment}, several=False)
    each = {name: assemble(of_name, reference) for name, of_name in groups.items()}
    return Workloads(each, several=True, warnings=(*warnings, *lost))


def _names(path: Path) -> list[str]:
    names = read_mapping(path).get("workloads")
    good = isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)
    return list(dict.fromkeys(names)) if isinstance(names, list) and good else []


def _named(
    root: Path,
    names: Sequence[str],
    reference: str | None,
    on_read: OnRead | None,
    indexes: Indexes | None,
) -> Workloads:
    """Read the workloads of one comparison; those that have not begun are told."""
    each: dict[str, Experiment] = {}
    warnings = []
    folders = {name: root / directory_name(name) for name in names}
    for name, folder in folders.items():
        if (folder / EXPERIMENT).is_file():
            each[name] = load_experiment(folder, reference=reference, on_read=on_read, indexes=indexes)
        else:
            warnings.append(f"the workload {name} has not begun")
    others = {path.parent for path in root.glob(f"*/{EXPERIMENT}")} - set(folders.values())
    if others:
        listing = few(sorted(path.name for path in others))
        warnings.append(f"{root} also holds {listing}: not part of this comparison, left out")
    if not each:
        raise nothing_found(root)
    return Workloads(each, several=len(names) > 1, warnings=tuple(warnings))


def _grouped(found: Sequence[Found]) -> tuple[dict[str, list[Found]], list[str]]:
    """Sort runs by model and data set; a run that tells neither goes with the others of its directory."""
    groups: dict[str, list[Found]] = {}
    warnings: list[str] = []
    for one in found:
        known = {id(run): workload for run in one.runs if (workload := _workload(run)) is not None}
        names = list(dict.fromkeys(known.values()))
        if not names and one.runs:
            warnings.append(f"{one.root or one.runs[0].directory}: nothing tells of which model it is; left out")
        for name in names:
            alone = len(names) == 1
            runs = [run for run in one.runs if known.get(id(run)) == name or (alone and id(run) not in known)]
            groups.setdefault(name, []).append(Found(one.root, one.plan, runs))
    return groups, warnings


def _workload(run: Run) -> str | None:
    if run.result is not None:
        return f"{run.result.model} on {run.result.dataset}"
    config = read_mapping(run.directory / CONFIG)
    model, dataset = (_name(config.get(key)) for key in ("model", "dataset"))
    return f"{model} on {dataset}" if model and dataset else None


def _name(section: object) -> str | None:
    name = section.get("name") if isinstance(section, dict) else section
    return name if isinstance(name, str) else None
