"""What runs logged while training, as curves: each seed's, and of every row the mean with its interval.

A curve has at most `POINTS` points, taken at even distances among the logged steps, the first and last included: a
page of many or long runs stays small. A row's mean is over its runs that finished, at the steps that all of them
logged; runs that did not finish are curves of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from grng.report.metric_lines import metric_lines
from grng.report.records import Experiment, Run

POINTS = 200
"""Of a curve."""
MOST_RUNS = 240
"""Whose curves are read, over all rows alike."""
ALL_POINTS = 40_000
"""Of all curves of single seeds of a figure."""

_STEP_LINES = 2000
"""Lines of a run's log that are parsed; of more, some at even distances."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Log:
    """What one run logged.

    Attributes:
        run: The run.
        values: By name, by step, the value.
        elapsed: By step, seconds on the training clock.
        epoch_steps: Steps of an epoch; None where nothing tells.
    """

    run: Run
    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    elapsed: Mapping[int, float] = field(default_factory=dict)
    epoch_steps: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        epochs: Or steps, where a log does not say how many an epoch has, [points].
        seconds: On the training clock, [points]; of a mean, the mean over its runs.
        values: [points].
        low: Lower end of the 95 % interval; None with a single run.
        high: Its upper end.
    """

    epochs: Array
    seconds: Array
    values: Array
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True, slots=True)
class RowCurves:
    """The lines of one row.

    Attributes:
        label: The row.
        index: Its place among all rows.
        mean: Over the runs that finished; None where none did.
        seeds: Of single runs that finished, by seed.
        others: Of runs that did not, by name and status.
    """

    label: str
    index: int
    mean: Curve | None
    seeds: Mapping[str, Curve]
    others: Mapping[str, Curve]


@dataclass(frozen=True, slots=True)
class Logs:
    """What the runs of an experiment logged.

    Attributes:
        rows: By label, the logs of its runs.
        left_out: How many runs' logs were not read, as there are too many.
        by_steps: Whether steps stand for epochs, as some log does not tell these.
    """

    rows: Mapping[str, Sequence[Log]]
    left_out: int
    by_steps: bool

    @property
    def names(self) -> list[str]:
        """Every value that some run logged, in order of appearance."""
        return list(dict.fromkeys(name for logs in self.rows.values() for log in logs for name in log.values))


def read_logs(experiment: Experiment) -> Logs:
    """Return what the runs of an experiment logged; what cannot be read is skipped."""
    quota = max(1, MOST_RUNS // max(1, len(experiment.labels)))
    rows: dict[str, list[Log]] = {}
    left_out = 0
    for label in experiment.labels:
        runs = [run for run in experiment.of(label) if run.status != "missing"]
        left_out += max(0, len(runs) - quota)
        rows[label] = [read_log(run) for run in runs[:quota]]
    every = [log for logs in rows.values() for log in logs if log.values]
    known = {log.epoch_steps for log in every if log.epoch_steps is not None}
    if len(known) == 1:  # a run within its first epoch does not tell; its data are those of the others
        rows = {label: [replace(log, epoch_steps=next(iter(known))) for log in logs] for label, logs in rows.items()}
        return Logs(rows, left_out, by_steps=False)
    return Logs(rows, left_out, by_steps=any(log.epoch_steps is None for log in every))


def read_log(run: Run) -> Log:
    """Return what one run logged; torn and foreign lines are skipped."""
    values: dict[str, dict[int, float]] = {}
    elapsed: dict[int, float] = {}
    epoch_ends: dict[int, int] = {}
    for step, record in metric_lines(run.directory, _is_read):
        seconds = _number(record.get("elapsed_s"))
        if seconds is not None:
            elapsed[step] = seconds
        of_epoch = record.get("kind") == "epoch"
        epoch = record.get("epoch")
        if of_epoch and isinstance(epoch, int):
            epoch_ends[epoch] = step
        for name, value in record.items():
            number = _number(value) if _is_curve(name, of_epoch=of_epoch) else None
            if number is not None:
                values.setdefault(name, {})[step] = number
    return Log(run, values, elapsed, _epoch_steps(run, epoch_ends))


def _epoch_steps(run: Run, ends: Mapping[int, int]) -> float | None:
    """Return the steps of an epoch; the last epoch of a log may have been cut short."""
    first = ends.get(1)
    if first is not None and 2 in ends:
        return first
    if run.result is not None and run.result.data.train:
        return max(1, run.result.data.train // run.result.batch_size)
    return first


def _is_curve(name: str, *, of_epoch: bool) -> bool:
    if name in ("val_accuracy", "val_loss"):
        return True
    # An epoch's training loss is a mean over its batches, a step's that of one batch: a curve has the steps'.
    return not of_epoch and (name == "train_loss" or name.startswith(("optimizer/", "diagnostics/")))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _is_read(place: int, count: int, text: bytes) -> bool:
    """Return whether a line is parsed: evaluations and measurements are few and dear; of the other steps some do."""
    stride = max(1, count // _STEP_LINES)
    return place % stride == 0 or b"val_" in text or b"diagnostics/" in text or place == count - 1


def curves_of(logs: Logs, name: str, *, points: int = POINTS) -> list[RowCurves]:
    """Return the curves of one value, of the rows that have it.

    Args:
        logs: From `read_logs`.
        name: As in `metrics.jsonl`.
        points: Of each curve, at most.
    """
    count = sum(name in log.values for of_row in logs.rows.values() for log in of_row)
    points = max(20, min(points, ALL_POINTS // max(1, count)))
    found = []
    for index, (label, of_row) in enumerate(logs.rows.items()):
        having = [log for log in of_row if log.values.get(name)]
        finished = [log for log in having if log.run.status == "finished"]
        others = [log for log in having if log.run.status != "finished"]
        if having:
            found.append(
                RowCurves(
                    label,
                    index,
                    _mean(finished, name, points, logs.by_steps),
                    {str(log.run.seed): _single(log, name, points, logs.by_steps) for log in finished},
                    {f"{log.run.name}, {log.run.status}": _single(log, name, points, logs.by_steps) for log in others},
                )
            )
    return found


def _single(log: Log, name: str, points: int, by_steps: bool) -> Curve:
    of_name = log.values[name]
    steps = thinned(sorted(of_name), points)
    return Curve(_epochs(log, steps, by_steps), _seconds(log, steps), np.array([of_name[step] for step in steps]))


def _mean(logs: Sequence[Log], name: str, points: int, by_steps: bool) -> Curve | None:
    if not logs:
        return None
    common = set.intersection(*(set(log.values[name]) for log in logs))
    steps = thinned(sorted(common), points)
    if not steps:
        return None
    table = np.array([[log.values[name][step] for step in steps] for log in logs])
    seconds = np.array([_seconds(log, steps) for log in logs]).mean(axis=0)
    mean = table.mean(axis=0)
    epochs = _epochs(logs[0], steps, by_steps)
    if len(logs) == 1:
        return Curve(epochs, seconds, mean)
    half = float(stdtrit(len(logs) - 1, 0.975)) * table.std(axis=0, ddof=1) / math.sqrt(len(logs))
    return Curve(epochs, seconds, mean, mean - half, mean + half)


def _epochs(log: Log, steps: Sequence[int], by_steps: bool) -> Array:
    return np.array(steps, dtype=np.float64) / (1.0 if by_steps else log.epoch_steps or 1.0)


def _seconds(log: Log, steps: Sequence[int]) -> Array:
    return np.array([log.elapsed.get(step, math.nan) for step in steps], dtype=np.float64)


def thinned(steps: Sequence[int], points: int) -> list[int]:
    """Return at most `points` of the steps, at even distances, the first and the last among them."""
    if len(steps) <= points:
        return list(steps)
    return [steps[round(place)] for place in np.linspace(0, len(steps) - 1, points)]
