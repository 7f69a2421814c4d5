"""What all figures share: colours, dashes and markers of rows, text that plotly.js takes as it is, the empty layout."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

from grng.report.html.blocks import LegendEntry

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b85a8f", "#000000", "#c48600", "#3a9bd6", "#a39600")
"""Okabe and Ito's colours, those too light for white paper darkened; page.js puts those of the dark page in place."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star")
PATTERNS = ("", "/", "x", ".", "\\")

_BAND = 0.15
_TICK = 24
"""Characters of a line of a name beside an axis."""
_STROKES = "rgba(255,255,255,0.75)"
_GREY_STROKES = "rgba(128,128,128,0.9)"
"""Seen on black and on white, which one of the colours becomes on a dark page."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def colour(index: int) -> str:
    """Return the colour of the row `index`."""
    return PALETTE[index % len(PALETTE)]


def band_colour(index: int) -> str:
    """Return the colour of the row's band, which lets others show through."""
    text = colour(index)
    red, green, blue = (int(text[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{_BAND})"


def line(index: int, width: float = 2.0) -> dict[str, Any]:
    """Return how the row's line is drawn; from the ninth row on dashes come in another order."""
    dash = DASHES[(index + index // len(PALETTE)) % len(DASHES)]
    return {"color": colour(index), "width": width, "dash": dash}


def marker(index: int, size: int = 8) -> dict[str, Any]:
    """Return how the row's points are drawn."""
    return {"color": colour(index), "symbol": MARKERS[(index + index // len(PALETTE)) % len(MARKERS)], "size": size}


def bar_marker(index: int) -> dict[str, Any]:
    """Return how the bars of a kind are drawn: a colour with a pattern over it."""
    strokes = _GREY_STROKES if colour(index) == PALETTE[4] else _STROKES
    pattern = {"shape": PATTERNS[index % len(PATTERNS)], "fillmode": "overlay", "fgcolor": strokes, "solidity": 0.2}
    return {"color": colour(index), "pattern": pattern}


def visible(text: str) -> str:
    r"""Return `text` with what hides or turns text written out: `\u202e`."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _HIDDEN and character != "\n"
        else character
        for character in text
    )


def label_text(text: str, most: int = 40) -> str:
    """Return a name as plotly.js shows it literally: it takes some tags and entities for markup."""
    shown = visible(text)
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return (
        shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ").replace("$", "&#36;")
    )


def tick_text(text: str) -> str:
    """Return a row's name beside its place on an axis: in two lines where it is long, each as plotly.js shows it."""
    lines = textwrap.wrap(visible(text), _TICK) or [""]
    if len(lines) > 2:
        lines = [lines[0], textwrap.shorten(" ".join(lines[1:]), _TICK, placeholder="…") if " " in text else lines[1]]
        lines[1] = lines[1] if lines[1].endswith("…") else f"{lines[1][: _TICK - 1]}…"
    return "<br>".join(label_text(line) for line in lines)


def legend_of(
    labels: Sequence[str], indices: Sequence[int] | None = None, *, bar: bool = False
) -> tuple[LegendEntry, ...]:
    """Return the legend of rows.

    Args:
        labels: The rows.
        indices: Their places among all rows; None: in order.
        bar: Whether they are bars.
    """
    places = list(range(len(labels))) if indices is None else list(indices)
    return tuple(
        LegendEntry(group(place), label, place % (len(PALETTE) * len(DASHES)), bar)
        for place, label in zip(places, labels, strict=True)
    )


def group(index: int) -> str:
    """Return the legend group of the row `index`."""
    return f"row{index}"


def layout(x: str, y: str, **more: Any) -> dict[str, Any]:
    """Return the layout of a figure with two axes."""
    axis = {"automargin": True, "zeroline": False, "exponentformat": "power"}  # not 100µ for 0.0001
    return {
        "xaxis": {"title": {"text": x}, **axis},
        "yaxis": {"title": {"text": y}, **axis},
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "hovermode": "closest",
        "showlegend": False,
        **more,
    }


def categories(labels: Sequence[str], *, above: float = 0.6) -> dict[str, Any]:
    """Return an axis with a place for each row, the first one on top.

    Rows are numbers with names as ticks, so that names that look alike, or like numbers, stay apart.

    Args:
        labels: The rows.
        above: How far the axis goes beyond the first row.
    """
    return {
        "tickmode": "array",
        "tickvals": list(range(len(labels))),
        "ticktext": [tick_text(label) for label in labels],
        "range": [len(labels) - 0.4, -above],
        "automargin": True,
        "zeroline": False,
        "showgrid": False,
        "fixedrange": True,
    }


def shown(value: float | None, digits: int = 4) -> float | None:
    """Return a number for a figure: a handful of digits; None where there is none, which leaves a gap."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")
