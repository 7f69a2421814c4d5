"""The page as one text: sections into the template, figures as JSON, plotly.js and the styles inside."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from grng._version import __version__
from grng.report.html.blocks import Block, Download, Figure, Grid, Listing, Prose, Section
from grng.report.html.content import Content
from grng.report.html.curves import POINTS
from grng.report.html.plotting import PALETTE, band_colour, visible
from grng.report.html.sections import sections_of
from grng.report.html.swatches import swatch

_TEMPLATES = "templates"


@dataclass(frozen=True, slots=True)
class _Placed:
    """A block with the name of its anchor."""

    block: Block
    id: str


@dataclass(frozen=True, slots=True)
class _Item:
    """What stands in a section: a block, small figures side by side, or something folded."""

    block: Block | None = None
    id: str = ""
    small: tuple[_Placed, ...] = ()
    folded: bool = False
    summary: str = ""
    several: tuple[_Placed, ...] = ()


@dataclass(frozen=True, slots=True)
class _Shown:
    name: str
    title: str
    blocks: tuple[_Item, ...]


def render(content: Content, *, title: str, directories: Sequence[str | Path]) -> str:
    """Return the page; the same directories give the same page.

    Args:
        content: What it is made from.
        title: Its heading.
        directories: What the report was asked of.
    """
    figures: list[tuple[str, Figure]] = []
    shown = [_Shown(s.name, s.title, tuple(_arranged(s, figures))) for s in sections_of(content)]
    plotly, script = plotly_js(), _template("page.js")
    places = ", ".join(str(directory) for directory in directories)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=f"{_counts(content)} {_last(content)}From {places}.",
            sections=shown,
            directories=places,
            points=POINTS,
            version=__version__,
            policy=_policy(plotly, script),
            css=Markup(_template("page.css")),
            plotly=Markup(plotly),
            script=Markup(script),
            figures=Markup(json_for_script(_figures(figures))),
        )
    )


def _counts(content: Content) -> str:
    runs = [run for part in content.parts for run in part.experiment.runs]
    told = []
    if runs:
        ended = sum(run.status == "finished" for run in runs)
        told.append(f"{ended} of {len(runs)} runs finished.")
    if content.sweeps:
        trials = sum(len(sweep.document["trials"]) for sweep in content.sweeps)
        told.append(f"{trials} trials.")
    return " ".join(told)


def _last(content: Content) -> str:
    """Return when the last run ended, "" where none has."""
    runs = [run.result for part in content.parts for run in part.experiment.runs if run.result is not None]
    results = [*runs, *(result for sweep in content.sweeps for result in sweep.results)]
    ends = [result.finished for result in results if result.finished is not None]
    return f"The last one ended on {max(ends).astimezone(UTC):%Y-%m-%d at %H:%M} UTC. " if ends else ""


def _arranged(section: Section, figures: list[tuple[str, Figure]]) -> list[_Item]:
    """Number the figures, and gather small ones and folded ones that follow each other."""
    items: list[_Item] = []
    for block in section.blocks:
        placed = _Placed(block, "")
        if isinstance(block, Figure):
            placed = _Placed(block, f"figure{len(figures) + 1}")
            figures.append((placed.id, block))
        folded = isinstance(block, Figure | Grid | Listing | Prose) and block.folded
        small = isinstance(block, Figure) and block.small
        last = items[-1] if items else _Item()
        if small and folded and last.several:
            items[-1] = _Item(folded=True, summary=last.summary, several=(*last.several, placed))
        elif small and folded:
            items.append(_Item(folded=True, summary="Others", several=(placed,)))
        elif small and last.small:
            items[-1] = _Item(small=(*last.small, placed))
        elif small:
            items.append(_Item(small=(placed,)))
        elif folded:
            items.append(_Item(block, placed.id, folded=True, summary=_summary(block)))
        else:
            items.append(_Item(block, placed.id))
    return items


def _summary(block: Block) -> str:
    return block.caption if isinstance(block, Grid) else getattr(block, "title", "more")


def _figures(figures: Sequence[tuple[str, Figure]]) -> dict[str, Any]:
    return {
        "palette": list(PALETTE),
        "bands": [band_colour(index).rpartition(",")[0] for index in range(len(PALETTE))],
        "all": [
            {
                "id": name,
                "data": figure.data,
                "layout": figure.layout,
                "xs": figure.xs,
                "x_titles": figure.x_titles,
                "height": figure.height,
                "small": figure.small,
            }
            for name, figure in figures
        ],
    }


def json_for_script(value: Any) -> str:
    """Return JSON that is safe within `<script>`: nothing in it ends the element or begins another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(*scripts: str) -> str:
    """Return a policy under which these scripts run, styles are allowed, and nothing is loaded from anywhere."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    sources = " ".join(f"'sha256-{one}'" for one in hashes)
    # plotly.js writes styles of its own; images are those that it saves figures as.
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def plotly_js() -> str:
    """Return the source of plotly.js, which the page holds whole."""
    from importlib.resources import files

    text = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    # Nothing in it may end the element that it stands in; within strings and comments the slash may be escaped.
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _template(name: str) -> str:
    return (Path(__file__).parent / _TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("grng.report.html", _TEMPLATES),
        autoescape=True,
        finalize=_finalised,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(swatch=swatch, data_link=data_link, number_key=number_key)
    return made


def _finalised(value: Any) -> Any:
    """Write out what hides or turns text, in everything that is not the page's own."""
    return visible(value) if type(value) is str else value


def number_key(value: float) -> str:
    """Return a number as JavaScript reads it."""
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(float(value))


def data_link(file: Download) -> str:
    """Return a link that holds the file."""
    coded = base64.b64encode(file.text.encode("utf-8", "backslashreplace")).decode("ascii")
    return f"data:{file.media};charset=utf-8;base64,{coded}"
