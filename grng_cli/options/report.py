"""Options about the report: its format, its file, and whether a command ends with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Output"
FORMATS = ("html", "markdown", "latex", "csv", "json")


def complete_formats(incomplete: str) -> list[str]:
    """Complete the name of a format."""
    return [name for name in FORMATS if name.startswith(incomplete)]


Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Write the report as html, markdown, latex, csv or json instead of printing it; default: as the name of "
        "--output ends.",
        autocompletion=complete_formats,
        rich_help_panel=_PANEL,
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where it goes; default: stdout, of html DIR/report.html.",
        rich_help_panel=_PANEL,
    ),
]
Report = Annotated[
    bool | None,
    typer.Option(
        "--report/--no-report", help="Write report.html beside the results at the end.", rich_help_panel=_PANEL
    ),
]
