"""The curves of one row's runs made one: mean and interval over the seeds at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from grng.report.records import Experiment, Run
from grng.report.run_curves import RunCurves, read_run_curves
from grng.statistics import mean_interval


@dataclass(frozen=True, slots=True)
class Point:
    """A curve over seeds at one step.

    Attributes:
        step: Counted from 1.
        mean: Over the seeds that have a value there.
        low: Low end of the 95 % interval (Student's t); None with one seed.
        high: High end.
        seeds: How many they are.
        elapsed_s: Mean seconds on the training clock.
    """

    step: int
    mean: float
    low: float | None
    high: float | None
    seeds: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class RowCurves:
    """The curves of the runs of one row; `diverged` says which of `runs` did."""

    label: str
    runs: tuple[RunCurves, ...]
    diverged: tuple[bool, ...]

    def over_seeds(self, quantity: str) -> list[Point]:
        """Return the mean over the seeds at each step that some seed has a value at.

        The curve ends where a run diverged: the mean over those that are left would be one of a selection, and look
        better than what the optimizer does. A run that is not there yet is merely missing from the mean.

        Args:
            quantity: One of `QUANTITIES`.
        """
        end = self._end(quantity)
        steps = sorted({step for run in self.runs for step in run.values.get(quantity, {}) if step < end})
        return [self._point(quantity, step) for step in steps]

    @property
    def steps_per_epoch(self) -> int | None:
        """The steps of an epoch; None where no run completed one, or they do not agree."""
        found = {run.steps_per_epoch for run in self.runs} - {None}
        return found.pop() if len(found) == 1 else None

    def _end(self, quantity: str) -> float:
        ends = [math.inf]
        for run, diverged in zip(self.runs, self.diverged, strict=True):
            ends += [step for step, value in run.values.get(quantity, {}).items() if not math.isfinite(value)]
            if diverged:
                ends.append(run.last_step + 1)
        return min(ends)

    def _point(self, quantity: str, step: int) -> Point:
        there = [run for run in self.runs if step in run.values.get(quantity, {})]
        interval = mean_interval([run.values[quantity][step] for run in there])
        elapsed = sum(run.elapsed_s[step] for run in there) / len(there)
        return Point(step, interval.mean, interval.low, interval.high, len(there), elapsed)


def curves_of_rows(experiment: Experiment) -> list[RowCurves]:
    """Read the curves of every row that has begun."""
    rows = []
    for label in experiment.labels:
        begun = [(run, curves) for run in experiment.of(label) if (curves := _read(run)).last_step > 0]
        if begun:
            curves_of_label = tuple(curves for _, curves in begun)
            rows.append(RowCurves(label, curves_of_label, tuple(run.status == "diverged" for run, _ in begun)))
    return rows


def _read(run: Run) -> RunCurves:
    return RunCurves() if run.status == "missing" else read_run_curves(run.directory)
