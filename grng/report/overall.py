"""Tables of several workloads -> what holds over all of them: performance profiles and mean ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from grng.report.checks import few, plural
from grng.report.pairing import pair_runs
from grng.report.records import Experiment
from grng.report.row import Row
from grng.report.tables import Table
from grng.statistics import MeanRank, Profiles, mean_ranks, performance_profiles, profile_shares

TAUS = (1.0, 1.5, 2.0, 4.0)
"""Factors at which profiles are shown."""

LEAST_FOR_INTERVALS = 5
"""Seeds below which ranks have no interval: three have ten different resamples, which often agree by chance."""

_SMALLEST = 1e-9
_LAST = -1.0
"""Below every accuracy: the score of a row that has none."""


@dataclass(frozen=True, slots=True)
class ProfileTable:
    """Performance profiles with what they are made of.

    Attributes:
        workloads: Names of those that count.
        costs: By row, one cost a workload; infinity: the target was never reached.
        profiles: The profiles and their scores.
        shares: By row, the profile at each of `TAUS`.
    """

    workloads: tuple[str, ...]
    costs: Mapping[str, tuple[float, ...]]
    profiles: Profiles
    shares: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Overall:
    """What holds over several workloads.

    Attributes:
        workloads: Their names, in order.
        labels: The rows that all of them have, in order.
        steps: Profiles of the median steps to the target; None where no workload tells.
        time: Profiles of the median time to it; None where no workload has times that can be compared.
        ranks: Mean rank by test accuracy, by row; None where no workload tells.
        ranked: Names of the workloads that the ranks are over.
        notes: What a reader must know: what is left out, and what counts as last or never.
        rank_seeds: The fewest seeds of a workload that the ranks are over; 0 without any.
    """

    workloads: tuple[str, ...]
    labels: tuple[str, ...]
    steps: ProfileTable | None
    time: ProfileTable | None
    ranks: Mapping[str, MeanRank] | None
    ranked: tuple[str, ...]
    notes: tuple[str, ...] = ()
    rank_seeds: int = 0


def over_workloads(experiments: Mapping[str, Experiment], tables: Mapping[str, Table]) -> Overall:
    """Return profiles and ranks over several workloads.

    Args:
        experiments: By the workload's name, in order.
        tables: The table of each.
    """
    every = list(dict.fromkeys(label for table in tables.values() for label in table.labels))
    labels = [label for label in every if all(label in table.labels for table in tables.values())]
    notes: list[str] = []
    if len(labels) < len(every):
        absent = few(label for label in every if label not in labels)
        notes.append(f"not on every workload, so left out over all: {absent}")
    steps = _profiles(tables, labels, "steps", notes) if labels else None
    time = _profiles(tables, labels, "time", notes) if labels else None
    ranks, ranked, seeds = _ranks(experiments, labels, notes) if labels else (None, (), 0)
    return Overall(tuple(tables), tuple(labels), steps, time, ranks, ranked, tuple(notes), seeds)


def _profiles(tables: Mapping[str, Table], labels: Sequence[str], kind: str, notes: list[str]) -> ProfileTable | None:
    costs: dict[str, list[float]] = {label: [] for label in labels}
    kept: list[str] = []
    failed: list[str] = []
    out: dict[str, list[str]] = {}
    for name, table in tables.items():
        rows = [table.row(label) for label in labels]
        reason = _unusable(rows, kind)
        if reason:
            out.setdefault(reason, []).append(name)
            continue
        kept.append(name)
        for row in rows:
            value = row.steps_to_target if kind == "steps" else row.time_to_target
            if value is None:
                failed.append(f"{row.label} on {name}")
            costs[row.label].append(math.inf if value is None else max(value, _SMALLEST))
    notes += [f"profiles on {kind} are without {few(names)}: {reason}" for reason, names in out.items()]
    if failed:
        notes.append(f"profiles on {kind} count as never reached what failed: {few(failed)}")
    if not kept:
        return None
    fixed = {label: tuple(values) for label, values in costs.items()}
    return ProfileTable(tuple(kept), fixed, performance_profiles(fixed), profile_shares(fixed, TAUS))


def _unusable(rows: Sequence[Row], kind: str) -> str:
    """Return why a workload does not count in profiles, "" where it does."""
    if not any(row.target_runs for row in rows):
        return "no run with a target has ended"
    waiting = [row.label for row in rows if not row.target_runs and not row.failed]
    if waiting:
        return f"no run of {few(waiting)} has ended"
    if kind == "time":
        if any(row.time_mark for row in rows):
            return "its times are not comparable"
        if any(row.target_runs and row.time_to_target is None for row in rows):
            return "runs shared cores or device"
    return ""


def _ranks(
    experiments: Mapping[str, Experiment], labels: Sequence[str], notes: list[str]
) -> tuple[dict[str, MeanRank] | None, tuple[str, ...], int]:
    """Return the ranks, the workloads that they are over, and the fewest seeds of one of these."""
    scores: list[dict[str, list[float]]] = []
    kept: list[str] = []
    last: list[str] = []
    without: list[str] = []
    partly: list[str] = []
    for name, experiment in experiments.items():
        lost = _lost(experiment, labels)
        seeds = _common_seeds(experiment, [label for label in labels if label not in lost])
        if not seeds:
            without.append(name)
            continue
        if len(seeds) < len(experiment.seeds):
            partly.append(f"{name} over {plural(len(seeds), 'seed')} of {len(experiment.seeds)}")
        kept.append(name)
        last += [f"{label} on {name} ({what})" for label, what in lost.items()]
        found = {label: _accuracies(experiment, label) for label in labels}
        scores.append({label: [_LAST if label in lost else found[label][seed] for seed in seeds] for label in labels})
    if last:
        notes.append(f"ranked last there: {few(last, 12)}")
    if partly:
        notes.append(f"ranks are over the seeds that all rows have: {few(partly)}")
    if without:
        notes.append(f"ranks are without {few(without)}: no seed in which every row finished")
    if not scores:
        return None, (), 0
    ranks, fewest = mean_ranks(scores), min(len(one[labels[0]]) for one in scores)
    if fewest < LEAST_FOR_INTERVALS:
        ranks = {label: replace(rank, low=None, high=None, best_share=None) for label, rank in ranks.items()}
    return ranks, tuple(kept), fewest


def _lost(experiment: Experiment, labels: Sequence[str]) -> dict[str, str]:
    """Return the rows with a run that diverged or failed, and what became of it: what is left is a selection."""
    lost = {}
    for label in labels:
        statuses = {run.status for run in experiment.of(label)}
        what = [word for word in ("diverged", "failed") if word in statuses]
        if what:
            lost[label] = " and ".join(what)
    return lost


def _accuracies(experiment: Experiment, label: str) -> dict[int, float]:
    """Return test accuracies of the finished runs of a row, by seed."""
    found = {}
    for run in experiment.of(label):
        accuracy = None if run.result is None else run.result.final.test_accuracy
        if run.status == "finished" and run.seed is not None and accuracy is not None and math.isfinite(accuracy):
            found[run.seed] = accuracy
    return found


def _common_seeds(experiment: Experiment, labels: Sequence[str]) -> list[int]:
    """Return the seeds in which every row finished, from the same weights on the same batches."""
    if not labels:
        return list(experiment.seeds)[:1]  # all are last, and share the rank
    seeds = set.intersection(*(set(_accuracies(experiment, label)) for label in labels))
    for label in labels[1:]:
        refused = pair_runs(experiment.of(label), experiment.of(labels[0])).refused
        seeds -= {seed for of_reason in refused.values() for seed in of_reason}
    return sorted(seeds)
