"""Options about the terminal alone: what moves on it, and curves drawn in it."""

from __future__ import annotations

from typing import Annotated

import typer

_PRINTING = "Output"

Plot = Annotated[
    bool,
    typer.Option(
        "--plot",
        help="Draw the curves in the terminal, after the table; on stderr with --json or --quiet.",
        rich_help_panel=_PRINTING,
    ),
]
NoProgress = Annotated[
    bool,
    typer.Option(
        "--no-progress",
        help="No moving display, lines only: as in a pipe, a dumb terminal, and where CI is set.",
        rich_help_panel=_PRINTING,
    ),
]
