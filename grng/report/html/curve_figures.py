"""Curves as figures: a row's mean with its band, single seeds on demand, epochs or training time below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from grng.report.columns import number
from grng.report.html.blocks import Figure
from grng.report.html.curves import Array, Curve, RowCurves
from grng.report.html.plotting import band_colour, group, label_text, layout, legend_of, line, marker, shown

_MARKERS = 8
"""Marked points of a line, to tell it from others without colour."""
_SEEDS_TOLD = 12
_AROUND = 0.5
"""How far, in parts of what finished runs span, the frame goes beyond it for wide bands and runs that diverged."""
_BEYOND = "What goes on beyond the frame is seen after a double-click, or on a logarithmic axis."
_CUT = "Cut off at the frame; a double-click shows all."


class _Traces:
    """The traces of a figure, each with its x on both axes."""

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []
        self.xs: list[list[list[float | None]]] = []

    def add(self, curve: Curve, y: Array, index: int, role: str, **more: Any) -> None:
        epochs, seconds = _plain(curve.epochs), _plain(curve.seconds)
        self.xs.append([epochs, seconds])
        self.data.append(
            {
                "type": "scatter",
                "x": epochs,
                "y": _plain(y),
                "legendgroup": group(index),
                "meta": role,
                "showlegend": False,
                **more,
            }
        )


def curve_figure(
    title: str, rows: Sequence[RowCurves], y: str, *, by_steps: bool, text: str, small: bool = False, decimals: int = 4
) -> Figure:
    """Return the figure of one value.

    Args:
        title: Its heading.
        rows: The curves.
        y: Title of the vertical axis, with its unit.
        by_steps: Whether steps stand for epochs.
        text: How it is to be read.
        small: Whether it is one of several side by side: without single seeds.
        decimals: Digits of what is shown on hover.
    """
    traces = _Traces()
    for row in rows:
        if not small:
            for seed, curve in row.seeds.items():
                if row.mean is not None and len(row.seeds) > 1:
                    more: dict[str, Any] = {"opacity": 0, "hoverinfo": "skip", "name": f"seed {seed}"}
                    traces.add(curve, curve.values, row.index, "seed", mode="lines", line=line(row.index, 1), **more)
        for name, curve in row.others.items():
            thin = {**line(row.index, 1), "dash": "dot"}
            hover = f"{label_text(name)}<br>%{{y:.4g}}<extra></extra>"
            traces.add(curve, curve.values, row.index, "other", mode="lines", line=thin, hovertemplate=hover)
        if row.mean is None:
            continue
        if row.mean.low is not None and row.mean.high is not None:
            edge = {"width": 0, "color": band_colour(row.index)}
            silent: dict[str, Any] = {"mode": "lines", "line": edge, "hoverinfo": "skip"}
            traces.add(row.mean, row.mean.low, row.index, "low", **silent)
            fill = {"fill": "tonexty", "fillcolor": band_colour(row.index)}
            traces.add(row.mean, row.mean.high, row.index, "high", **silent, **fill)
        traces.add(
            row.mean,
            row.mean.values,
            row.index,
            "mean",
            mode="lines+markers",
            line=line(row.index),
            marker={**marker(row.index, 7), "maxdisplayed": _MARKERS},
            name=label_text(row.label),
            text=_hover(row, with_seeds=not small, digits=decimals),
            hovertemplate="%{text}<extra></extra>",
        )
    span = frame(rows)
    axes = layout(x := "steps" if by_steps else "epochs", y)
    if span is not None:
        axes["yaxis"] |= {"range": [shown(end) for end in span]}
        text = _CUT if small else f"{text} {_BEYOND}"
    bands = ("bands",) if any(trace["meta"] == "low" for trace in traces.data) else ()
    switches = ("log", *bands) if small else ("log", *bands, "smooth", "seeds")
    return Figure(
        title,
        text,
        traces.data,
        axes,
        legend_of([row.label for row in rows], [row.index for row in rows]),
        traces.xs,
        (x, "training time, s"),
        switches,
        height=300 if small else 440,
        small=small,
    )


def frame(rows: Sequence[RowCurves]) -> tuple[float, float] | None:
    """Return the values that the vertical axis is to show; None where it can show all of them.

    The interval of two seeds may be a hundred times as wide as what they differ by, and the loss of a run that diverges
    has no bound: on an axis with room for that, nothing else would be seen.
    """
    inner = _values([curve for row in rows for curve in (row.mean, *row.seeds.values()) if curve is not None])
    if not inner.size or inner.min() == inner.max():
        return None
    means = [row.mean for row in rows if row.mean is not None]
    bands = [end for mean in means for end in (mean.low, mean.high) if end is not None]
    outer = np.concatenate([inner, *bands, _values([curve for row in rows for curve in row.others.values()])])
    around = _AROUND * (inner.max() - inner.min())
    low, high = max(outer.min(), inner.min() - around), min(outer.max(), inner.max() + around)
    if low == outer.min() and high == outer.max():
        return None
    margin = 0.04 * (high - low)
    return float(low - margin), float(high + margin)


def _values(curves: Sequence[Curve]) -> Array:
    return np.concatenate([curve.values for curve in curves]) if curves else np.zeros(0)


def _hover(row: RowCurves, *, with_seeds: bool, digits: int) -> list[str]:
    """Return what is shown of each point of the mean: name, place, value with interval, and every seed's value."""
    mean = row.mean
    assert mean is not None
    seeds = list(row.seeds.items())[:_SEEDS_TOLD] if with_seeds and len(row.seeds) > 1 else []
    # Seeds of other lengths have other points; their lines are shown, their numbers not.
    seeds = [(seed, curve) for seed, curve in seeds if len(curve.values) == len(mean.values)]
    texts = []
    for place, value in enumerate(mean.values):
        text = f"{label_text(row.label)}: {number(float(value), digits)}"
        if mean.low is not None and mean.high is not None:
            text += f" [{number(float(mean.low[place]), digits)}, {number(float(mean.high[place]), digits)}]"
        text += f"<br>at {mean.epochs[place]:.4g}, {mean.seconds[place]:.4g} s"
        for seed, curve in seeds:
            text += f"<br>seed {seed}: {number(float(curve.values[place]), digits)}"
        texts.append(text)
    return texts


def _plain(values: Array) -> list[Any]:
    return [shown(float(value), 5) for value in values]
