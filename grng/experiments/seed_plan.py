"""How many seeds a comparison takes to find a difference, and what they cost: `--plan`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError
from grng.experiments.compare_config import CompareConfig

if TYPE_CHECKING:
    from grng.experiments.compare import Prepared

WHERE = "--plan"


@dataclass(frozen=True, slots=True)
class Spread:
    """How far paired differences to the reference lie apart.

    Attributes:
        sd: Their standard deviation, a fraction of test accuracy.
        pairs: How many of the pilot's seeds it was estimated from; None where it was stated.
        low: Low end of its 95 % interval, None where it was stated.
        high: High end.
    """

    sd: float
    pairs: int | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """What one row takes.

    Attributes:
        label: The row.
        spread: Of its differences to the reference; None for the reference.
        seeds: The fewest that find the effect in it; None: more than can be planned, or it is the reference.
        seconds: Of one run; None where the data is not there to measure it with.
    """

    label: str
    spread: Spread | None
    seeds: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """How many seeds a comparison takes.

    Attributes:
        rows: In the comparison's order.
        reference: The row that the others are compared with.
        effect: The difference to be found, a fraction of test accuracy.
        power: Probability of finding it.
        alpha: Significance after Holm's correction.
        comparisons: Rows that are compared with the reference.
        floor: Fewest seeds with which the exact test can be significant at all.
        seeds: What the row takes that takes the most; None: more than can be planned.
        workers: Runs at once.
        seconds: Of all runs, on that many workers; None where it cannot be told.
        remarks: What a reader must know.
        tuning_runs: Runs of trials before, whatever the number of seeds; `seconds` counts them once.
        tuning_seconds: What those take; None where it cannot be told.
    """

    rows: tuple[PlannedRow, ...]
    reference: str
    effect: float
    power: float
    alpha: float
    comparisons: int
    floor: int
    seeds: int | None
    workers: int
    seconds: float | None
    remarks: tuple[str, ...] = ()
    tuning_runs: int = 0
    tuning_seconds: float | None = None


def check_planning(config: CompareConfig) -> None:
    """Refuse a plan that lacks something, before anything is loaded.

    Raises:
        GrngError: There is no effect, no spread, or nothing to compare.
    """
    planning = config.planning
    if planning.effect is None:
        hint = "Give --effect 0.01 for one point of test accuracy."
        raise GrngError("needs the difference that is to be found.", where=WHERE, hint=hint)
    if planning.spread is None and planning.pilot is None:
        hint = "Give --pilot DIR, an earlier comparison, or --spread 0.01, their standard deviation."
        raise GrngError("needs the spread of the paired differences.", where=WHERE, hint=hint)
    if len(config.specs) < 2:
        raise GrngError("needs two rows or more: there is nothing to compare.", where=WHERE, hint="Add --optimizers.")


def plan_seeds(prepared: Prepared) -> SeedPlan:
    """Return how many seeds a comparison takes; a few steps of every row are measured, nothing is written.

    Args:
        prepared: The comparison; its `planning` says what is to be found.

    Raises:
        GrngError: `check_planning`, or the pilot cannot be used.
    """
    from grng.experiments.compare import planned_now
    from grng.experiments.estimate import estimate
    from grng.statistics import seeds_for_power, seeds_needed

    config, planning = prepared.config, prepared.config.planning
    check_planning(config)
    reference, others = config.chosen_reference, len(prepared.labels) - 1
    spreads, remarks = _spreads(prepared, reference)
    assert planning.effect is not None
    floor = seeds_needed(others, planning.alpha)
    seconds: dict[str, float | None] = {}
    for run in planned_now(prepared):
        if run.label not in seconds:
            seconds[run.label] = estimate(run.config).seconds
    rows = []
    for label in prepared.labels:
        spread = None if label == reference else spreads[label]
        seeds = None
        if spread is not None:
            seeds = floor
            if spread.sd > 0:
                seeds = seeds_for_power(
                    planning.effect, spread.sd, power=planning.power, significance=planning.alpha, comparisons=others
                )
            seeds = None if seeds is None else max(floor, seeds)
        rows.append(PlannedRow(label, spread, seeds, seconds[label]))
    needed = [row.seeds for row in rows if row.label != reference]
    most = None if None in needed else max(one for one in needed if one is not None)
    workers = max(1, len(prepared.slots))
    total = _total(seconds, most, workers)
    trials = {label: one.total * one.config.tuning_seeds for label, one in prepared.sweeps.items()}
    tuning = _tuning_seconds(seconds, trials, workers)
    return SeedPlan(
        tuple(rows),
        reference,
        planning.effect,
        planning.power,
        planning.alpha,
        others,
        floor,
        most,
        workers,
        None if total is None or tuning is None else total + tuning,
        tuple(remarks),
        sum(trials.values()),
        tuning,
    )


def _tuning_seconds(seconds: Mapping[str, float | None], trials: Mapping[str, int], workers: int) -> float | None:
    """Return what the runs of trials take, row by row."""
    total = 0.0
    for label, runs in trials.items():
        of_run = seconds[label]
        if of_run is None:
            return None
        total += of_run * runs / min(workers, runs)
    return total


def _total(seconds: Mapping[str, float | None], seeds: int | None, workers: int) -> float | None:
    known = [value for value in seconds.values() if value is not None]
    if seeds is None or len(known) < len(seconds):
        return None
    return seeds * sum(known) / min(workers, seeds * len(known))


def _spreads(prepared: Prepared, reference: str) -> tuple[dict[str, Spread], list[str]]:
    """Return the spread of every row but the reference, and what must be said of them."""
    planning = prepared.config.planning
    others = [label for label in prepared.labels if label != reference]
    if planning.pilot is None:
        assert planning.spread is not None
        return dict.fromkeys(others, Spread(planning.spread)), []
    found, workload = _pilot(planning.pilot, reference, others)
    largest = max(found.values(), key=lambda spread: spread.sd)
    remarks = []
    absent = [label for label in others if label not in found]
    if absent:
        remarks.append(f"not in the pilot: {', '.join(absent)}; the largest spread of the others is taken")
    few = min(spread.pairs or 0 for spread in found.values())
    low, high = largest.low or 0.0, largest.high or 0.0
    if largest.sd > 0:
        remarks.append(
            f"a spread estimated from {few} pairs may be off: the largest, {100 * largest.sd:.2g} points, has the 95 % "
            f"interval {100 * low:.2g} to {100 * high:.2g}"
        )
    ours = f"{prepared.config.model.name} on {prepared.config.dataset.name}"
    if workload != ours:
        remarks.append(f"the pilot is of {workload}, this comparison of {ours}: its spread may be another")
    return {label: found.get(label, largest) for label in others}, remarks


def _pilot(directory: Path, reference: str, labels: list[str]) -> tuple[dict[str, Spread], str]:
    """Return the spreads that an earlier comparison tells, and its workload."""
    from grng.report.load import load_experiment
    from grng.report.pairing import pair_runs
    from grng.statistics import mean_interval, spread_interval

    experiment = load_experiment(directory)
    where = f"--pilot {directory}"
    if reference not in experiment.labels:
        hint = f"Its rows are {', '.join(experiment.labels)}; choose one of them with --reference."
        raise GrngError(f"the pilot has no row {reference!r}, the reference.", where=where, hint=hint)
    spreads: dict[str, Spread] = {}
    for label in labels:
        pairs = pair_runs(experiment.of(label), experiment.of(reference)).proven
        scores = [(pair.value.final.test_accuracy, pair.reference.final.test_accuracy) for pair in pairs]
        differences = [value - other for value, other in scores if value is not None and other is not None]
        if len(differences) < 2:
            continue
        sd = mean_interval(differences).sd or 0.0
        # Rounding alone is no spread.
        sd = 0.0 if math.isclose(sd, 0.0, abs_tol=1e-12) else sd
        spreads[label] = Spread(sd, len(differences), *spread_interval(sd, len(differences)))
    if not spreads:
        hint = f"It takes two seeds or more of {reference} and of a row of this comparison."
        raise GrngError("the pilot has no two pairs of finished runs.", where=where, hint=hint)
    result = next(run.result for run in experiment.runs if run.result is not None)
    return spreads, f"{result.model} on {result.dataset}"
