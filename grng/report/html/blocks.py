"""What a page is made of: sections of headings, sentences, tables, figures, texts and downloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from grng.report.columns import Column

SortKey = float | str | None
"""What a cell is sorted by; None comes last whichever way."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says.
        detail: What stands below in smaller print: an interval, a range.
        key: What it is sorted by.
    """

    text: str
    detail: str = ""
    key: SortKey = None


@dataclass(frozen=True, slots=True)
class Head:
    """A column's heading.

    Attributes:
        title: The heading; units in it.
        meaning: One phrase, for those who ask; "" where the title says it.
        numeric: Whether its cells are numbers.
    """

    title: str
    meaning: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    Attributes:
        caption: What it shows.
        heads: Its columns; the first one names the rows.
        rows: Its rows.
        sortable: Whether its headings sort it.
        folded: Whether it is shown on request only.
    """

    kind: ClassVar[str] = "grid"

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"

    text: str


@dataclass(frozen=True, slots=True)
class Prose:
    """Sentences.

    Attributes:
        lines: The sentences.
        tone: plain (a list), lead (large), warning (loud), note (small).
        title: What opens them where they are folded.
        folded: Whether they are shown on request only.
    """

    kind: ClassVar[str] = "prose"

    lines: tuple[str, ...]
    tone: str = "plain"
    title: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """Text as it is typed or stored."""

    kind: ClassVar[str] = "listing"

    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """A file that the page holds.

    Attributes:
        name: Of the file.
        media: Its media type.
        text: Its content.
    """

    name: str
    media: str
    text: str


@dataclass(frozen=True, slots=True)
class Downloads:
    """Files that the page holds, as links."""

    kind: ClassVar[str] = "downloads"

    files: tuple[Download, ...]


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A line of a figure's legend.

    Attributes:
        key: The `legendgroup` of its traces.
        label: What it is called.
        style: Index of colour, dash and marker, or pattern.
        bar: Whether it stands for bars, not for lines.
    """

    key: str
    label: str
    style: int
    bar: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as plotly.js draws it.

    Attributes:
        title: What it shows.
        text: How it is to be read.
        data: Traces.
        layout: Plotly's layout, without colours of paper, text and lines, which are the page's.
        legend: Its legend; empty: none is needed.
        xs: For figures with a switch of the horizontal axis, for each trace its x on each axis.
        x_titles: Titles of these axes.
        switches: Further controls: `log`, `logx`, `bands`, `smooth`, `seeds`.
        logy: Whether the vertical axis is logarithmic at first.
        height: In pixels.
        small: Whether several stand side by side.
        folded: Whether it is shown on request only.
    """

    kind: ClassVar[str] = "figure"

    title: str
    text: str
    data: Sequence[dict[str, Any]]
    layout: dict[str, Any]
    legend: tuple[LegendEntry, ...] = ()
    xs: Sequence[Sequence[Sequence[float | None]]] = ()
    x_titles: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    logy: bool = False
    height: int = 420
    small: bool = False
    folded: bool = False


Block = Grid | Heading | Prose | Listing | Downloads | Figure


@dataclass(slots=True)
class Section:
    """A section of the page.

    Attributes:
        name: Of its anchor.
        title: Its heading.
        blocks: What is in it; a section without any is left out.
    """

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def grid_of(caption: str, columns: Sequence[Column], *, folded: bool = False) -> Grid:
    """Return columns of text as a table."""
    heads = tuple(Head(column.title, numeric=column.justify == "right") for column in columns)
    rows = zip(*(column.cells for column in columns), strict=True)
    return Grid(caption, heads, tuple(tuple(Cell(text) for text in row) for row in rows), folded=folded)
