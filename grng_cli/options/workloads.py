"""Options of `grng compare` that take several models or data sets."""

from __future__ import annotations

from typing import Annotated

import typer

from grng_cli.options import common as options

_PANEL = "Workload"


def complete_dataset_lists(incomplete: str) -> list[str]:
    """Complete the last name of a comma list of data sets."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name, _ in options.complete_datasets(last)]


Models = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A timm model, or a comma list of them: each with each data set. `grng models list`.",
        rich_help_panel=_PANEL,
    ),
]
Datasets = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="A data set, or a comma list of them: `grng datasets list`.",
        autocompletion=complete_dataset_lists,
        rich_help_panel=_PANEL,
    ),
]
