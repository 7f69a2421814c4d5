"""Options of `grng compare` about tuning its rows first, and the target that it may tell."""

from __future__ import annotations

from typing import Annotated, Any

import typer

_PANEL = "Tuning"

Tune = Annotated[
    int | None,
    typer.Option(
        "--tune",
        metavar="N",
        help="Tune every row first, with N trials over its own declared space, on validation data and tuning seeds.",
        rich_help_panel=_PANEL,
    ),
]
TuningSeeds = Annotated[
    int | None,
    typer.Option(
        "--tuning-seeds",
        metavar="K",
        help="Runs of a trial, with seeds that are never used for reporting; default: 1.",
        rich_help_panel=_PANEL,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="SHARE",
        help="Validation accuracy to reach, a fraction; default: the data set's. `tuned`: what the reference's best "
        "trial came to.",
        rich_help_panel="Training",
    ),
]


def overrides(tune: int | None, tuning_seeds: int | None, target: str | None) -> list[tuple[str, Any, str]]:
    """Return the keys of a comparison that these options set."""
    return [
        ("tune.trials", tune, "--tune"),
        ("tune.tuning_seeds", tuning_seeds, "--tuning-seeds"),
        ("training.target", _number(target), "--target"),
    ]


def _number(text: str | None) -> Any:
    """Return the number that a text is, else the text, which the config then refuses or knows."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
