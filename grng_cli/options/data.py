"""Options about data sets of files, shared by the commands that train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_DATA = "Data"

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where the files of --dataset are.", rich_help_panel=_DATA),
]
Download = Annotated[
    bool | None,
    typer.Option("--download/--no-download", help="Download what is missing into --data-dir.", rich_help_panel=_DATA),
]
StrictData = Annotated[
    bool | None,
    typer.Option(
        "--strict-data/--no-strict-data",
        help="Take an unreadable picture or an empty class for an error; else it is left out.",
        rich_help_panel=_DATA,
    ),
]
DataWorkers = Annotated[
    int | None,
    typer.Option(
        "--data-workers",
        help="Processes that read pictures, of each run; 0: none; default: one less than there are cores.",
        rich_help_panel=_DATA,
    ),
]
Flip = Annotated[
    float | None, typer.Option("--flip", help="Probability of mirroring a picture.", rich_help_panel=_DATA)
]
Crop = Annotated[
    str | None,
    typer.Option(
        "--crop",
        help="pad: a random window with a padding of 4 pixels; resized: a random part, resized.",
        autocompletion=lambda incomplete: [name for name in ("pad", "resized") if name.startswith(incomplete)],
        rich_help_panel=_DATA,
    ),
]
AutoAugment = Annotated[
    str | None,
    typer.Option(
        "--auto-augment",
        metavar="POLICY",
        help="timm's AutoAugment or RandAugment, e.g. rand-m9-mstd0.5-inc1.",
        rich_help_panel=_DATA,
    ),
]
RandomErasing = Annotated[
    float | None,
    typer.Option("--random-erasing", help="Probability of erasing a random rectangle.", rich_help_panel=_DATA),
]


def flags(
    *,
    data_dir: Path | None,
    download: bool | None,
    strict_data: bool | None,
    data_workers: int | None,
    flip: float | None,
    crop: str | None,
    auto_augment: str | None,
    random_erasing: float | None,
    dry_run: bool,
) -> list[tuple[str, Any, str]]:
    """Return which keys the options set; a dry run writes nothing, so it downloads nothing."""
    return [
        ("dataset.data_dir", None if data_dir is None else str(data_dir), "--data-dir"),
        ("dataset.download", None if dry_run else download, "--download"),
        ("dataset.strict", strict_data, "--strict-data"),
        ("machine.data_workers", data_workers, "--data-workers"),
        ("augment.flip", flip, "--flip"),
        ("augment.crop", crop, "--crop"),
        ("augment.auto_augment", auto_augment, "--auto-augment"),
        ("augment.random_erasing", random_erasing, "--random-erasing"),
    ]
