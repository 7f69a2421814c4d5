"""Figures of what runs came to: steps and time to the target, and the pairs of each seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from grng.report.columns import number
from grng.report.html.blocks import Figure
from grng.report.html.plotting import PALETTE, categories, label_text, layout, marker, shown
from grng.report.pairing import Pair, pair_runs
from grng.report.records import Experiment, Run
from grng.report.tables import Table
from grng.runs.result import RunResult
from grng.statistics import median

MOST_POINTS = 300
"""Points of a row, where each is a run."""

ROW_HEIGHT = 38
"""Pixels."""


def target_figure(experiment: Experiment, table: Table) -> Figure | None:
    """Return each run's steps and time to the target, with the median of each row; None where none reached it."""
    ended = {
        label: [r for r in experiment.of(label) if r.status in ("finished", "diverged") and r.result][:MOST_POINTS]
        for label in experiment.labels
    }
    rows = {label: [_result(run) for run in runs] for label, runs in ended.items()}
    reached = [r for of_row in rows.values() for r in of_row if r.target.step is not None]
    if not reached:
        return None
    never = [_never([get(r) for r in reached]) for get in (_target_step, _target_time)]
    data: list[dict[str, Any]] = []
    xs: list[list[list[float | None]]] = []
    for index, label in enumerate(experiment.labels):
        results = [r for r in rows[label] if r.target.accuracy is not None]
        if not results:
            continue
        missed = [r.target.step is None for r in results]
        both = [
            [never[axis] if lost else shown(get(r)) for r, lost in zip(results, missed, strict=True)]
            for axis, get in enumerate((_target_step, _target_time))
        ]
        xs.append(both)
        points = marker(index, 9)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": both[0],
                "y": [index + _spread(place, len(results)) for place in range(len(results))],
                "marker": {
                    **points,
                    "opacity": 0.6,
                    "symbol": ["x-thin-open" if m else points["symbol"] for m in missed],
                },
                "text": [_target_text(label, r) for r in results],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
        middles = [
            median([math.inf if lost else get(r) for r, lost in zip(results, missed, strict=True)])
            for get in (_target_step, _target_time)
        ]
        if math.isfinite(middles[0]):
            xs.append([[shown(value)] for value in middles])
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [shown(middles[0])],
                    "y": [index],
                    "marker": {"symbol": "line-ns-open", "size": 22, "color": PALETTE[4], "line": {"width": 3}},
                    "text": [f"{label_text(label)}: median {number(middles[0])} steps, {number(middles[1])} s"],
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    if _missed(rows):
        xs.append([[never[0]], [never[1]]])
        data.append(
            {"type": "scatter", "mode": "text", "x": [never[0]], "y": [-0.7], "text": ["never"], "hoverinfo": "skip"}
        )
    goal = "" if table.target is None else f" ({table.target:g} validation accuracy)"
    missing = " Crosses at the right edge: runs that ended without reaching it." if _missed(rows) else ""
    return Figure(
        f"Steps and time to the target{goal}",
        f"A point is a run, a bar the median of a row.{missing}",
        data,
        layout("steps", "", yaxis=categories(experiment.labels, above=1.0 if _missed(rows) else 0.6)),
        xs=xs,
        x_titles=("steps", "training time, s"),
        switches=("logx",),
        height=height(len(experiment.labels)),
    )


def _target_step(result: RunResult) -> float:
    return float(result.target.step or 0)


def _target_time(result: RunResult) -> float:
    return float(result.target.time_s or 0.0)


def _never(values: Sequence[float]) -> float:
    return float(f"{1.12 * max(values):.4g}")


def _missed(rows: Mapping[str, Sequence[RunResult]]) -> bool:
    return any(r.target.accuracy is not None and r.target.step is None for of_row in rows.values() for r in of_row)


def _target_text(label: str, result: RunResult) -> str:
    name = f"{label_text(label)} seed {result.seed}"
    if result.target.step is None:
        return f"{name}: never, in {result.steps} steps"
    return f"{name}: {result.target.step} steps, {number(result.target.time_s)} s"


def paired_figure(experiment: Experiment, table: Table) -> Figure | None:
    """Return the differences to the reference seed by seed, with their mean and interval; None without pairs."""
    others = [row for row in table.rows if not row.is_reference]
    references = experiment.of(experiment.reference)
    data: list[dict[str, Any]] = []
    for place, row in enumerate(others):
        index = experiment.labels.index(row.label)
        pairs = [pair for pair in pair_runs(experiment.of(row.label), references).proven if _both(pair) is not None]
        pairs = pairs[:MOST_POINTS]
        if not pairs:
            continue
        both = [_accuracies(pair) for pair in pairs]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [shown(100 * (value - other)) for value, other in both],
                "y": [place + _spread(at, len(pairs)) for at in range(len(pairs))],
                "marker": {**marker(index, 9), "opacity": 0.6},
                "text": [
                    f"{label_text(row.label)} seed {pair.value.seed}: {100 * (value - other):+.2f} points"
                    f"<br>{value:.4f} against {other:.4f}"
                    for pair, (value, other) in zip(pairs, both, strict=True)
                ],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
        if row.difference is None:
            continue
        mean = 100 * row.difference
        bars: dict[str, Any] = {}
        told = f"{label_text(row.label)}: mean {mean:+.2f} points"
        if row.difference_low is not None and row.difference_high is not None:
            low, high = 100 * row.difference_low, 100 * row.difference_high
            ends = {"array": [shown(high - mean)], "arrayminus": [shown(mean - low)]}
            bars = {"error_x": {"type": "data", "symmetric": False, "thickness": 2, "color": PALETTE[4], **ends}}
            told += f" [{low:+.2f}, {high:+.2f}]"
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [shown(mean)],
                "y": [place],
                "marker": {"symbol": "line-ns-open", "size": 22, "color": PALETTE[4], "line": {"width": 3}},
                "text": [told],
                "hovertemplate": "%{text}<extra></extra>",
                **bars,
            }
        )
    if not data:
        return None
    zero = {"type": "line", "xref": "x", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1}
    shapes = [{**zero, "line": {"width": 1, "dash": "dot", "color": PALETTE[4]}}]
    axis = categories([row.label for row in others])
    return Figure(
        f"Differences in test accuracy to {experiment.reference}, seed by seed",
        "A point is a seed: both runs of it began with the same weights and saw the same batches. Bars: mean and its "
        "95 % interval. To the right of the dotted line a row is better than the reference.",
        data,
        layout(f"points against {label_text(experiment.reference, 24)}", "", yaxis=axis, shapes=shapes),
        height=height(len(others)),
    )


def _both(pair: Pair) -> tuple[float, float] | None:
    value, other = pair.value.final.test_accuracy, pair.reference.final.test_accuracy
    return None if value is None or other is None else (value, other)


def _accuracies(pair: Pair) -> tuple[float, float]:
    both = _both(pair)
    assert both is not None
    return both


def _result(run: Run) -> RunResult:
    assert run.result is not None
    return run.result


def _spread(place: int, count: int) -> float:
    """Return where among equals a point stands, so that those with one value do not hide each other."""
    return 0.0 if count < 2 else 0.4 * (place / (count - 1) - 0.5)


def height(rows: int, each: int = ROW_HEIGHT) -> int:
    """Return the height of a figure with a line for each row, in pixels."""
    return 90 + each * max(2, rows)
