"""How sensitive a result is to two hyperparameters at once: maps of a sweep's trials, from its `sweep.json` alone."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grng.errors import GrngError
from grng.report.axes import Axis
from grng.report.columns import Column, fixed, number

FILE = "sweep.json"
LEGEND = "*: the best; ·: no trial; div: all trials there diverged; (n div): n of them did."

_MOST_BINS = 6
_TRIALS_A_CELL = 2
"""Trials that a cell should have, on an average."""

_EMPTY = "·"


@dataclass(frozen=True, slots=True)
class Point:
    """One trial that has ended.

    Args:
        trial: Its number.
        values: What was tried, by name; numbers alone.
        status: finished, pruned, diverged or failed.
        value: The objective where it finished; infinity: a target that was never reached.
    """

    trial: int
    values: Mapping[str, float]
    status: str
    value: float | None


@dataclass(frozen=True, slots=True)
class SweepPoints:
    """The trials of a sweep that have ended.

    Args:
        objective: What is best.
        minimize: Whether small values are.
        grid: Whether all combinations were tried: a cell is then the mean over the other hyperparameters.
        axes: The numeric hyperparameters that were searched, by name.
        points: The trials.
    """

    objective: str
    minimize: bool
    grid: bool
    axes: Mapping[str, Axis]
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """The trials whose values lie in one cell.

    Args:
        value: Of those that finished the best, in a grid the mean; None: none did.
        trials: How many there are.
        diverged: How many of them diverged.
        failed: How many failed.
        pruned: How many were ended early.
    """

    value: float | None
    trials: int
    diverged: int
    failed: int
    pruned: int = 0


@dataclass(frozen=True, slots=True)
class SensitivityMap:
    """A result over two hyperparameters.

    Args:
        sweep: Whose trials they are.
        x: What the columns are.
        y: What the rows are.
        cells: The rows, each with its columns; both in ascending order.
    """

    sweep: SweepPoints
    x: Axis
    y: Axis
    cells: tuple[tuple[Cell, ...], ...]

    @property
    def best(self) -> tuple[int, int] | None:
        """Row and column of the best cell."""
        found = [
            (cell.value if self.sweep.minimize else -cell.value, row, column)
            for row, cells in enumerate(self.cells)
            for column, cell in enumerate(cells)
            if cell.value is not None
        ]
        return min(found)[1:] if found else None

    def heading(self) -> str:
        """Return what the map shows, in a line."""
        how = "the mean over all else" if self.sweep.grid else "the best trial of each cell"
        return f"{self.sweep.objective} by {self.x.name} (columns) and {self.y.name} (rows), {how}"

    def columns(self) -> list[Column]:
        """Return the map as columns of text; the first one names the rows."""
        named = Column(f"{self.y.name} \\ {self.x.name}", "right", tuple(self.y.labels(len(self.cells))), None)
        titles = self.x.labels(len(self.cells[0]))
        texts = [[self._text(row, column) for row in range(len(self.cells))] for column in range(len(titles))]
        return [named, *(Column(t, "right", tuple(c), "accuracy") for t, c in zip(titles, texts, strict=True))]

    def document(self) -> dict[str, Any]:
        """Return the map, and the points that it was made of, as JSON; infinity is null."""
        points = [
            {
                "trial": point.trial,
                "x": point.values[self.x.name],
                "y": point.values[self.y.name],
                "status": point.status,
                "value": _finite(point.value),
            }
            for point in self.sweep.points
        ]
        cells = [[{**asdict(cell), "value": _finite(cell.value)} for cell in row] for row in self.cells]
        return {
            "x": {**self.x.document(), "cells": self.x.labels(len(self.cells[0]))},
            "y": {**self.y.document(), "cells": self.y.labels(len(self.cells))},
            "aggregate": "mean" if self.sweep.grid else "best",
            "cells": cells,
            "points": points,
        }

    def _text(self, row: int, column: int) -> str:
        cell = self.cells[row][column]
        if not cell.trials:
            return _EMPTY
        if cell.value is None:
            return "div" if cell.diverged else "failed" if cell.failed else "pruned"
        value = fixed(cell.value) if self.sweep.objective == "accuracy" else number(cell.value)
        value = "never" if math.isinf(cell.value) else value
        counts = ((cell.diverged, "div"), (cell.failed, "failed"), (cell.pruned, "pruned"))
        marks = ", ".join(f"{count} {what}" for count, what in counts if count)
        return f"{value}{'*' * ((row, column) == self.best)}{f' ({marks})' if marks else ''}"


def read_points(folder: Path) -> SweepPoints:
    """Return the trials of the sweep in `folder` that have ended.

    Raises:
        GrngError: There is no `sweep.json`, it cannot be read, or it is of a version without what a map needs.
    """
    path = folder / FILE
    again = "Give the directory of a `grng sweep`; its line again writes the file anew."
    try:
        return points_of(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise GrngError("there is no sweep.", where=str(path), hint=again) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise GrngError("cannot be read as a sweep with what maps need.", where=str(path), hint=again) from None


def points_of(document: Mapping[str, Any]) -> SweepPoints:
    """Return the trials in the content of a `sweep.json` that have ended.

    Raises:
        KeyError: It lacks something (likewise TypeError, ValueError, AttributeError: it has another form).
    """
    axes = {name: Axis.of(name, value) for name, value in document["axes"].items()}
    points = tuple(
        Point(
            trial["trial"],
            {name: float(trial["values"][name]) for name in axes},
            trial["status"],
            None if trial["status"] != "finished" else math.inf if trial["value"] is None else float(trial["value"]),
        )
        for trial in document["trials"]
        if trial["status"] != "running"
    )
    minimize = document["direction"] == "minimize"
    return SweepPoints(document["objective"], minimize, document["sampler"] == "grid", axes, points)


def default_pairs(sweep: SweepPoints, importance: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the pairs worth a map, columns first: lr by damping and by rho, else by what mattered most.

    Args:
        sweep: The trials.
        importance: Share of each name in what made trials good; empty where that cannot be told.
    """
    ranked = sorted(sweep.axes, key=lambda name: -importance.get(name, 0.0))  # stable: else as they were declared
    if "lr" in sweep.axes:
        ranked = ["lr", *(name for name in ranked if name != "lr")]
        known = [("lr", name) for name in ("damping", "rho") if name in sweep.axes]
        if known:
            return known
    return [(ranked[0], ranked[1])] if len(ranked) > 1 else []


def make_map(sweep: SweepPoints, x: str, y: str) -> SensitivityMap:
    """Return the map over two of the axes.

    Axes with few values have a column or row for each; ranges are cut into equal parts on their own scale, as many as
    leave two trials a cell on an average.

    Args:
        sweep: The trials.
        x: The name of what the columns are.
        y: The name of what the rows are.
    """
    axes = sweep.axes[x], sweep.axes[y]
    bins = max(2, min(_MOST_BINS, math.isqrt(len(sweep.points) // _TRIALS_A_CELL)))
    width, height = (axis.cells(bins) for axis in axes)
    found: dict[tuple[int, int], list[Point]] = {}
    for point in sweep.points:
        place = axes[1].place(point.values[y], height), axes[0].place(point.values[x], width)
        found.setdefault(place, []).append(point)
    cells = tuple(tuple(_cell(sweep, found.get((r, c), [])) for c in range(width)) for r in range(height))
    return SensitivityMap(sweep, *axes, cells)


def _cell(sweep: SweepPoints, points: Sequence[Point]) -> Cell:
    values = [point.value for point in points if point.value is not None]
    chosen = statistics.fmean if sweep.grid else min if sweep.minimize else max
    statuses = [point.status for point in points]
    counts = (statuses.count(status) for status in ("diverged", "failed", "pruned"))
    return Cell(chosen(values) if values else None, len(points), *counts)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
