"""Sweeps on the page: what a search for hyperparameters has come to, from its directory alone."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grng.errors import GrngError
from grng.report.checks import plural
from grng.report.columns import NOTHING, fixed, number
from grng.report.html.blocks import Block, Cell, Download, Figure, Grid, Head, Prose
from grng.report.html.tuning_figures import best_so_far_figure, importance_figure, map_figure, tuning_figure
from grng.report.reading import SWEEP, is_run_directory, read_run
from grng.report.sensitivity import default_pairs, make_map, points_of
from grng.report.tuning import OBJECTIVES, written
from grng.report.tuning_curves import read_curves
from grng.runs.result import RunResult

FILE, BEST = "sweep.json", "best.yaml"
LEAST_FOR_MAPS = 8
"""Trials below which a map says nothing."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep.

    Attributes:
        name: What it is called on the page.
        directory: Its directory.
        document: The content of its `sweep.json`.
        results: Of its runs.
    """

    name: str
    directory: Path
    document: Mapping[str, Any]
    results: tuple[RunResult, ...] = ()


def is_sweep(path: Path) -> bool:
    """Return whether a directory is a sweep's."""
    return (path / SWEEP).is_file()


def read_sweep(directory: Path, name: str | None = None) -> Sweep:
    """Return the sweep in a directory.

    Raises:
        GrngError: No trial of it has ended yet, or its `sweep.json` cannot be read.
    """
    path = directory / FILE
    again = "The same `grng sweep` again goes on with it, and writes the file anew."
    try:
        document = json.loads(path.read_bytes())
        points_of(document)
        title = name or f"{document['optimizer']} on {document['dataset']}"
        _ = (document["trials"], document["space"], document["best"], document["best_so_far"], document["counts"])
    except FileNotFoundError:
        raise GrngError("no trial has ended yet.", where=str(directory), hint=again) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise GrngError("cannot be read as a sweep.", where=str(path), hint=again) from None
    return Sweep(title, directory, document, tuple(_results(directory)))


def verdict_lines(sweep: Sweep) -> list[str]:
    """Return the best trial, how many there were, and what remains to be said."""
    document = sweep.document
    counts = ", ".join(f"{count} {what}" for what, count in document["counts"].items() if count)
    seeds = len(document["tuning_seeds"])
    trials = plural(len(document["trials"]), "trial")
    what = f"{document['optimizer']} with {document['model']} on {document['dataset']}"
    lines = [f"{what}: {trials} ({counts}), {plural(seeds, 'tuning seed')} each; values by {document['sampler']}."]
    best = document["best"]
    if best is None:
        return [*lines, "No trial has finished, so there is no best one."]
    words = OBJECTIVES.get(document["objective"], document["objective"])
    found = f"The best {words}, {told(document, best)}, is trial {best['trial']}'s: {written(best['values'])}."
    return [found, *lines, *_fewer(sweep)]


def _fewer(sweep: Sweep) -> list[str]:
    """Return what luck there is in the best: the interval of the best of half as many trials."""
    curve = read_curves({sweep.name: sweep.directory}).get(sweep.name)
    if curve is None or curve.trials < 4:
        return []
    half = max((point for point in curve.points if point.k <= curve.trials / 2), key=lambda point: point.k)
    show = fixed if curve.maximise else number
    ends = f"{show(half.mean)} [{show(half.low)}, {show(half.high)}]"
    return [f"{plural(half.k, 'trial')} would have found {ends} (mean and 80 % of the draws)."]


def told(document: Mapping[str, Any], trial: Mapping[str, Any]) -> str:
    """Return the value of a trial as text."""
    value = trial["value"]
    if trial["status"] != "finished":
        return NOTHING
    if value is None:
        return "never"
    return fixed(value) if document["objective"] == "accuracy" else number(value, 4)


def trial_grid(sweep: Sweep) -> Grid:
    """Return the trials as a sortable table, the best first."""
    document = sweep.document
    minimize = document["direction"] == "minimize"
    names = list(document["space"])
    words = OBJECTIVES.get(document["objective"], document["objective"])
    heads = (
        Head("trial", numeric=False),
        Head(words),
        *([Head("val. accuracy")] if document["objective"] != "accuracy" else []),
        *(Head(name) for name in names),
        Head("status", numeric=False),
    )

    def rank(one: Mapping[str, Any]) -> tuple[bool, float]:
        value = one["value"] if one["value"] is not None else math.inf if minimize else -math.inf
        return one["status"] != "finished", value if minimize else -value

    rows = []
    for one in sorted(document["trials"], key=rank):
        cells = [Cell(str(one["trial"]), key=one["trial"]), Cell(told(document, one), key=one["value"])]
        if document["objective"] != "accuracy":
            cells.append(Cell(fixed(one["val_accuracy"]), key=one["val_accuracy"]))
        cells += [_value(one["values"].get(name)) for name in names]
        reasons = sorted({str(run["reason"]) for run in one["runs"] if run.get("reason")})
        cells.append(Cell(one["status"], ", ".join(reasons), one["status"]))
        rows.append(tuple(cells))
    return Grid(f"Trials of {sweep.name}, the best first", heads, tuple(rows), sortable=True)


def _value(value: Any) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(f"{value:.6g}", key=float(value))
    return Cell(str(value), key=str(value))


def map_figures(sweep: Sweep, *, least: int = LEAST_FOR_MAPS) -> list[Block]:
    """Return the sweep's maps of two hyperparameters, and what mattered; none where there are too few trials."""
    points = points_of(sweep.document)
    importance = {str(name): float(share) for name, share in (sweep.document.get("importance") or {}).items()}
    if len(points.points) < least:
        return []
    pairs = _asked(sweep.document) or default_pairs(points, importance)
    figures: list[Figure | None] = [map_figure(sweep.name, make_map(points, x, y)) for x, y in pairs]
    mattered = importance_figure(sweep.name, importance, len(points.points))
    return [figure for figure in (*figures, mattered) if figure is not None]


def _asked(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs that the sweep itself has maps of: those that were asked for, or worth it."""
    try:
        pairs = [(one["x"]["name"], one["y"]["name"]) for one in document["maps"]]
    except (KeyError, TypeError):
        return []
    return [pair for pair in pairs if all(name in document["axes"] for name in pair)]


def trials_figure(sweep: Sweep) -> Figure | None:
    """Return the trials in order, with the best so far."""
    return best_so_far_figure(sweep.document)


def fewer_figure(sweep: Sweep) -> Figure | None:
    """Return what fewer trials would have found."""
    return tuning_figure(read_curves({sweep.name: sweep.directory}), [sweep.name])


def warning_prose(sweep: Sweep) -> list[Block]:
    """Return the sweep's warnings: best values at an end of what was searched."""
    lines = tuple(str(line) for line in sweep.document.get("warnings") or ())
    return [Prose(lines, "warning")] if lines else []


def failed_trials(sweep: Sweep) -> Grid | None:
    """Return the trials that diverged or failed; None where none did."""
    lost = [one for one in sweep.document["trials"] if one["status"] in ("pruned", "diverged", "failed")]
    if not lost:
        return None
    rows = tuple(
        (
            Cell(str(one["trial"]), key=one["trial"]),
            Cell(one["status"]),
            Cell(", ".join(sorted({str(run.get("reason")) for run in one["runs"] if run.get("reason")})) or NOTHING),
            Cell(written(one["values"])),
        )
        for one in lost
    )
    heads = tuple(Head(title, numeric=False) for title in ("trial", "status", "reason", "values"))
    return Grid(f"Trials of {sweep.name} that did not finish", heads, rows, sortable=True)


def _results(directory: Path) -> Iterator[RunResult]:
    for folder in sorted((directory / "trials").glob("*/seed*")):
        run = read_run(folder) if is_run_directory(folder) else None
        if run is not None and run.result is not None:
            yield run.result


def sweep_files(sweep: Sweep) -> list[Download]:
    """Return the sweep's files and its trials as CSV."""
    text = json.dumps(sweep.document, indent=2, ensure_ascii=False) + "\n"
    files = [Download("trials.csv", "text/csv", trials_csv(sweep)), Download(FILE, "application/json", text)]
    try:
        best = (sweep.directory / BEST).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return files
    return [*files, Download(BEST, "application/yaml", best)]


def trials_csv(sweep: Sweep) -> str:
    """Return one line a trial: number, status, value, validation accuracy, then what was tried."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = list(sweep.document["space"])
    writer.writerow(["trial", "status", "value", "val_accuracy", *names])
    for one in sweep.document["trials"]:
        values = [one["values"].get(name) for name in names]
        cells = [one["trial"], one["status"], one["value"], one["val_accuracy"], *values]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return stream.getvalue()
