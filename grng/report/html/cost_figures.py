"""Figures of what a step costs: its time by phase, and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from grng.report.columns import number
from grng.report.html.blocks import Figure
from grng.report.html.plotting import PALETTE, bar_marker, categories, label_text, layout, legend_of, shown
from grng.report.html.run_figures import height
from grng.report.records import Experiment
from grng.runs.result import RunResult
from grng.statistics import mean_interval

PHASES = ("data", "forward", "observe", "backward", "optimizer")


def cost_figure(experiment: Experiment) -> Figure | None:
    """Return how a step's time divides into phases, as bars; None where no run tells."""
    rows = {label: finished(experiment, label) for label in experiment.labels}
    data: list[dict[str, Any]] = []
    for place, phase in enumerate(PHASES):
        means = [_mean(results, attrgetter(f"time.{phase}_ms")) for results in rows.values()]
        if not any(means):
            continue
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": phase,
                "legendgroup": f"row{place}",
                "x": [shown(mean) for mean in means],
                "y": list(range(len(means))),
                "marker": bar_marker(place),
                "text": [
                    f"{label_text(label)}, {phase}: {number(mean)} ms" for label, mean in zip(rows, means, strict=True)
                ],
                "textposition": "none",
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    if not data:
        return None
    return Figure(
        "Time of a step by phase",
        "Means over the finished runs, refreshes of inverses spread over all steps.",
        data,
        layout("ms a step", "", yaxis=categories(list(rows)), barmode="stack"),
        legend_of([one["name"] for one in data], [PHASES.index(one["name"]) for one in data], bar=True),
        height=height(len(rows)),
    )


def memory_figure(experiment: Experiment) -> Figure | None:
    """Return the growth of memory and the optimizer's state, as bars; None where no run tells."""
    rows = {label: finished(experiment, label) for label in experiment.labels}
    measures: tuple[tuple[str, str, Callable[[RunResult], float | None]], ...] = (
        ("growth while training", "MB", lambda r: r.memory.growth_mb),
        ("optimizer state", "MB", lambda r: None if (b := r.memory.optimizer_state_bytes) is None else b / 1e6),
    )
    data: list[dict[str, Any]] = []
    names = []
    for place, (name, unit, get) in enumerate(measures):
        spans = [[value for r in results if (value := get(r)) is not None] for results in rows.values()]
        if not any(spans):
            continue
        names.append(name)
        intervals = [mean_interval(values) if values else None for values in spans]
        errors = [shown((one.high or one.mean) - one.mean) if one else None for one in intervals]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "legendgroup": f"row{place}",
                "x": [shown(one.mean) if one else None for one in intervals],
                "y": list(range(len(spans))),
                "error_x": {"type": "data", "array": errors, "thickness": 1.5, "color": PALETTE[4]},
                "marker": bar_marker(place),
                "text": [
                    f"{label_text(label)}, {name}: {number(one.mean if one else None)} {unit}"
                    for label, one in zip(rows, intervals, strict=True)
                ],
                "textposition": "none",
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    if not data:
        return None
    return Figure(
        "Memory",
        "Growth of the process (on a GPU of its memory) over its state before training, and what the optimizer keeps "
        "of it; means over the finished runs with their 95 % intervals.",
        data,
        layout("MB", "", yaxis=categories(list(rows)), barmode="group"),
        legend_of(names, bar=True),
        switches=("logx",),
        height=height(len(rows), 46),
    )


def finished(experiment: Experiment, label: str) -> list[RunResult]:
    """Return the results of a row's finished runs."""
    return [run.result for run in experiment.of(label) if run.status == "finished" and run.result is not None]


def _mean(results: Sequence[RunResult], get: Callable[[RunResult], float | None]) -> float | None:
    values = [value for result in results if (value := get(result)) is not None]
    return sum(values) / len(values) if values else None
