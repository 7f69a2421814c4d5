"""The option of `grng sweep` about maps of two hyperparameters."""

from __future__ import annotations

from typing import Annotated

import typer

Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME,NAME",
        help="Show the result by two hyperparameters, e.g. lr,damping: the first by column, the second by row. "
        "Default: lr by damping and rho, else by what mattered most. Repeatable.",
        rich_help_panel="Output",
    ),
]
