"""Figures for notebooks, by plotly: curves of a comparison, trials of a sweep."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from grng.errors import UnknownNameError, suggest
from grng.report.notebook.curves import QUANTITIES, RunCurve, mean_curve, read_curves
from grng.report.notebook.needed import needed
from grng.report.records import Experiment

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#B8A800")
"""Those of Okabe and Ito, which people who see colours differently can tell apart."""

AXES = {"step": "step", "time": "training time, s"}


def comparison_figure(experiments: Mapping[str, Experiment], *, y: str, x: str) -> go.Figure:
    """Return learning curves: of each row the mean over its seeds as a line, and each seed as a thin one.

    Args:
        experiments: By the workload's name; each has a panel of its own.
        y: One of `QUANTITIES`.
        x: One of `AXES`.

    Raises:
        UnknownNameError: `x` or `y` is none of these.
        GrngError: plotly is not installed.
    """
    _check(y, QUANTITIES, "y")
    _check(x, AXES, "x")
    subplots = needed("plotly.subplots", where=".plot()")
    titles = [plain(name) for name in experiments] if len(experiments) > 1 else None
    figure = subplots.make_subplots(rows=1, cols=len(experiments), subplot_titles=titles)
    labels = list(dict.fromkeys(label for one in experiments.values() for label in one.labels))
    for column, experiment in enumerate(experiments.values(), 1):
        for label, curves in read_curves(experiment, y).items():
            colour = COLOURS[labels.index(label) % len(COLOURS)]
            for curve in curves if len(curves) > 1 else ():
                thin = _line(curve, label, x, colour, width=1)
                figure.add_trace({**thin, "opacity": 0.3, "showlegend": False, "hoverinfo": "skip"}, row=1, col=column)
            figure.add_trace(
                {**_line(mean_curve(curves), label, x, colour), "showlegend": column == 1}, row=1, col=column
            )
    figure.update_xaxes(title_text=AXES[x])
    figure.update_yaxes(title_text=QUANTITIES[y], col=1)
    figure.update_layout(template="plotly_white", hovermode="x unified")
    return figure


def _line(curve: RunCurve, label: str, x: str, colour: str, *, width: float = 2.5) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(curve.steps) < 2 else "lines",
        "x": list(curve.steps if x == "step" else curve.times),
        "y": list(curve.values),
        "name": plain(label),
        "legendgroup": plain(label),
        "line": {"color": colour, "width": width},
    }


def trials_figure(
    points: Sequence[tuple[float, float, str]],
    *,
    best_so_far: Sequence[tuple[float, float]] = (),
    x: str,
    y: str,
    log: bool = False,
) -> go.Figure:
    """Return a sweep's trials as points.

    Args:
        points: Of each trial its place along x, its value, and what to say of it.
        best_so_far: Corners of the line below or above which no trial was.
        x: Title of the axis.
        y: Title of the values.
        log: Whether x is logarithmic.

    Raises:
        GrngError: plotly is not installed.
    """
    graphs = needed("plotly.graph_objects", where=".plot()")
    figure = graphs.Figure()
    across, up, texts = ([one[place] for one in points] for place in range(3))
    figure.add_trace(
        {
            "type": "scatter",
            "mode": "markers",
            "x": across,
            "y": up,
            "text": [plain(str(text)) for text in texts],
            "name": "trial",
            "marker": {"color": COLOURS[0], "size": 8},
        }
    )
    if best_so_far:
        line = {"color": COLOURS[1], "shape": "hv"}
        steps = {"x": [one[0] for one in best_so_far], "y": [one[1] for one in best_so_far]}
        figure.add_trace({"type": "scatter", "mode": "lines", "name": "best so far", "line": line, **steps})
    figure.update_layout(template="plotly_white", xaxis_title=plain(x), yaxis_title=plain(y))
    if log:
        figure.update_xaxes(type="log")
    return figure


def plain(text: str) -> str:
    """Return text of which plotly, which takes some tags in names, shows every character."""
    return html.escape(text, quote=False)


def _check(name: str, known: Mapping[str, str], where: str) -> None:
    if name not in known:
        otherwise = f"One of {', '.join(known)}."
        raise UnknownNameError(f"cannot show {name!r}.", where=where, hint=suggest(name, known, otherwise=otherwise))
