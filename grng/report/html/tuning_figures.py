"""Figures of tuning and of several workloads: what smaller budgets find, maps of two hyperparameters, profiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from grng.report.checks import plural
from grng.report.columns import number
from grng.report.html.blocks import Figure
from grng.report.html.plotting import PALETTE, categories, group, label_text, layout, legend_of, line, marker, shown
from grng.report.overall import ProfileTable
from grng.report.sensitivity import Cell, SensitivityMap
from grng.report.tuning import OBJECTIVES
from grng.report.tuning_curves import BAND, Curve
from grng.report.tuning_tables import point_text

_VIRIDIS = ((0.0, "#440154"), (0.25, "#3b528b"), (0.5, "#21918c"), (0.75, "#5ec962"), (1.0, "#fde725"))


def tuning_figure(curves: Mapping[str, Curve], labels: Sequence[str]) -> Figure | None:
    """Return the expected best of k trials of each row; None where there is none, or objectives differ.

    Args:
        curves: By label.
        labels: All rows, in order.
    """
    if not curves or len({curve.objective for curve in curves.values()}) > 1:
        return None
    objective = next(iter(curves.values())).objective
    data: list[dict[str, Any]] = []
    for place, (label, curve) in enumerate(curves.items()):
        index = list(labels).index(label) if label in labels else 0
        # A little beside each other, so that the bars of all rows are seen.
        shift = 1.03 ** (place - (len(curves) - 1) / 2)
        ends = [(shown(p.high - p.mean), shown(p.mean - p.low)) for p in curve.points]
        data.append(
            {
                "type": "scatter",
                "x": [shown(point.k * shift) for point in curve.points],
                "y": [shown(point.mean) for point in curve.points],
                "legendgroup": group(index),
                "mode": "lines+markers",
                "meta": "mean",
                "line": line(index),
                "marker": marker(index, 7),
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [high for high, _ in ends],
                    "arrayminus": [low for _, low in ends],
                    "color": PALETTE[index % len(PALETTE)],
                    "thickness": 1,
                    "width": 3,
                },
                "text": [f"{label_text(label)}, best of {p.k}: {point_text(curve, p)}" for p in curve.points],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    words = OBJECTIVES.get(objective, "value")
    most = max(point.k for curve in curves.values() for point in curve.points)
    figure = layout("k, trials drawn", f"expected best {words}")
    ticks = sorted({*(k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if 1.3 * k <= most), most})
    figure["xaxis"] |= {"type": "log", "tickmode": "array", "tickvals": ticks, "ticktext": [str(k) for k in ticks]}
    return Figure(
        "What fewer trials would have found",
        f"The best {words} of k of a row's trials, expected over all ways of drawing k of them; bars: where "
        f"{100 * BAND:.0f} % of the draws lie.",
        data,
        figure,
        legend_of(list(curves), [list(labels).index(label) if label in labels else 0 for label in curves]),
    )


def map_figure(name: str, one: SensitivityMap) -> Figure:
    """Return a map of two hyperparameters as a heat map; what diverged has no colour and is marked.

    Args:
        name: Whose trials they are.
        one: The map.
    """
    width, height = len(one.cells[0]), len(one.cells)
    values = [[_finite(cell.value) for cell in row] for row in one.cells]
    best = one.best
    marks = [[_mark(cell, (r, c) == best) for c, cell in enumerate(row)] for r, row in enumerate(one.cells)]
    x, y = one.x.labels(width), one.y.labels(height)
    texts = [
        [_cell_text(one, cell, x[c], y[r], (r, c) == best) for c, cell in enumerate(row)]
        for r, row in enumerate(one.cells)
    ]
    # Small values are light where they are good, so that light is good in every map.
    minimize = one.sweep.minimize
    scale = [[1 - at if minimize else at, tone] for at, tone in (reversed(_VIRIDIS) if minimize else _VIRIDIS)]
    heat = {
        "type": "heatmap",
        "z": values,
        "x": list(range(width)),
        "y": list(range(height)),
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": True,
        "colorscale": scale,
        "xgap": 2,
        "ygap": 2,
        "colorbar": {"title": {"text": label_text(one.sweep.objective, 18), "side": "right"}, "thickness": 12},
    }
    labels = [
        {"x": c, "y": r, "text": marks[r][c], "showarrow": False, "font": {"color": _ink(one, values, r, c)}}
        for r in range(height)
        for c in range(width)
    ]
    figure = layout(label_text(one.x.name), label_text(one.y.name), annotations=labels)
    for axis, names in (("xaxis", x), ("yaxis", y)):
        ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": [label_text(n) for n in names]}
        figure[axis] |= {**ticks, "showgrid": False, "fixedrange": True}
    how = "The mean over all else" if one.sweep.grid else "The best trial of each cell"
    return Figure(
        f"{name}: {one.sweep.objective} by {one.x.name} and {one.y.name}",
        f"{how}; light is good. *: the best; ·: no trial; div: all trials there diverged; (n div): n of them did.",
        [heat],
        figure,
        height=130 + 44 * max(3, height),
        small=True,
    )


def _finite(value: float | None) -> float | None:
    return shown(value) if value is not None else None


def _mark(cell: Cell, best: bool) -> str:
    if not cell.trials:
        return "·"
    if cell.value is None:
        return "div" if cell.diverged else "failed" if cell.failed else "pruned"
    text = "never" if math.isinf(cell.value) else number(cell.value)
    return f"{text}{'*' if best else ''}" + (f"<br>({cell.diverged} div)" if cell.diverged else "")


def _ink(one: SensitivityMap, values: Sequence[Sequence[float | None]], row: int, column: int) -> str:
    """Return black or white, whichever is read on the cell; where there is no colour that of the page."""
    known = [value for line_of in values for value in line_of if value is not None]
    value = values[row][column]
    if value is None:
        return PALETTE[4]
    low, high = min(known), max(known)
    place = 0.5 if high == low else (value - low) / (high - low)
    return "#111111" if (1 - place if one.sweep.minimize else place) > 0.55 else "#fefefe"


def _cell_text(one: SensitivityMap, cell: Cell, x: str, y: str, best: bool) -> str:
    counts = [f"{cell.trials} trial{'' if cell.trials == 1 else 's'}"]
    counts += [
        f"{count} {what}"
        for count, what in ((cell.diverged, "diverged"), (cell.failed, "failed"), (cell.pruned, "pruned"))
        if count
    ]
    value = "no value" if cell.value is None else "never" if math.isinf(cell.value) else number(cell.value, 4)
    where = f"{label_text(one.x.name)} {label_text(x)}, {label_text(one.y.name)} {label_text(y)}"
    return f"{where}<br>{value}{' (the best)' if best else ''}<br>{', '.join(counts)}"


def importance_figure(name: str, shares: Mapping[str, float], trials: int) -> Figure | None:
    """Return what mattered in a sweep, as bars; None where that cannot be told.

    Args:
        name: Whose trials they are.
        shares: By hyperparameter.
        trials: How many they are estimated from.
    """
    if len(shares) < 2:
        return None
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [shown(100 * share) for share in shares.values()],
        "y": list(range(len(shares))),
        "marker": {"color": PALETTE[0]},
        "hovertemplate": "%{x:.0f} %<extra></extra>",
    }
    return Figure(
        f"{name}: what mattered",
        f"Share of each hyperparameter in what made trials good (PED-ANOVA), estimated from {plural(trials, 'trial')}.",
        [bars],
        layout("%", "", yaxis=categories(list(shares))),
        height=90 + 34 * max(2, len(shares)),
        small=True,
    )


def profile_figure(kind: str, table: ProfileTable, labels: Sequence[str]) -> Figure:
    """Return performance profiles, as steps."""
    data: list[dict[str, Any]] = []
    taus = [shown(tau) for tau in table.profiles.taus]
    for index, label in enumerate(labels):
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": taus,
                "y": [shown(100 * share) for share in table.profiles.shares[label]],
                "line": {**line(index), "shape": "hv"},
                "marker": {**marker(index, 7), "maxdisplayed": 6},
                "legendgroup": group(index),
                "meta": "mean",
                "hovertemplate": f"{label_text(label)}: %{{y:.0f}} % within %{{x:.2f}} ×<extra></extra>",
            }
        )
    figure = layout(f"τ: {kind} to the target over the fastest's", "% of the workloads")
    figure["yaxis"] |= {"range": [-3, 103]}
    scores = ", ".join(f"{label} {table.profiles.scores[label]:.3f}" for label in labels)
    return Figure(
        f"Performance profiles, {kind} to the target",
        f"Share of the workloads ({', '.join(table.workloads)}) on which a row takes at most τ times the fastest's. "
        f"Scores, the area below: {scores}.",
        data,
        figure,
        legend_of(list(labels)),
    )


def best_so_far_figure(document: Mapping[str, Any]) -> Figure | None:
    """Return the values of a sweep's trials in order, with the best so far; None where no trial has one."""
    ended = [one for one in document["trials"] if one["status"] == "finished" and one["value"] is not None]
    if not ended:
        return None
    lost = [one for one in document["trials"] if one["status"] in ("pruned", "diverged", "failed")]
    objective = str(document["objective"])
    words = OBJECTIVES.get(objective, objective)
    best = [one for one in document["best_so_far"] if one["value"] is not None]
    last = max(one["trial"] for one in document["trials"])
    worst = (max if document["direction"] == "minimize" else min)(one["value"] for one in ended)
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [one["trial"] for one in ended],
            "y": [shown(one["value"]) for one in ended],
            "marker": marker(0, 8),
            "text": [_trial_text(one) for one in ended],
            "hovertemplate": "%{text}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "x": [*(one["trial"] for one in best), last],
            "y": [*(shown(one["value"]) for one in best), shown(best[-1]["value"]) if best else None],
            "line": {**line(1), "shape": "hv"},
            "hovertemplate": "best so far: %{y:.4g}<extra></extra>",
        },
    ]
    if lost:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [one["trial"] for one in lost],
                "y": [shown(worst)] * len(lost),
                "marker": {"symbol": "x-thin-open", "size": 9, "color": PALETTE[4]},
                "text": [_trial_text(one) for one in lost],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    crosses = " Crosses, at the worst value: trials that diverged, failed or were ended early." if lost else ""
    return Figure(
        "Trials in order",
        f"A point is a trial, the line the best so far.{crosses}",
        data,
        layout("trial", words),
        height=360,
    )


def _trial_text(one: Mapping[str, Any]) -> str:
    value = number(one["value"], 4) if one["value"] is not None else one["status"]
    given = "<br>".join(f"{label_text(name)} = {label_text(str(value))}" for name, value in one["values"].items())
    return f"trial {one['trial']}: {value}<br>{given}"
