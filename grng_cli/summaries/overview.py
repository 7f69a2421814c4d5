"""TensorBoard's overview of experiments, kept up to date by the commands that read all their runs anyway."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from grng.errors import GrngError
from grng_cli.output import Output


def refresh_boards(directories: Iterable[Path | None], printer: Output) -> None:
    """Write the overview of each experiment directory that lacks a current one.

    That it cannot be written, on a disk that is full or not one's own, changes nothing about what was asked for.

    Args:
        directories: Those of experiments; None is passed over.
        printer: Of the command.
    """
    for directory in dict.fromkeys(directories):
        # Asked here as well, since TensorBoard's modules take as long to load as a report takes.
        if directory is None or not any(directory.glob("*/seed*/events.out.tfevents.*")):
            continue
        from grng.report.board import write_board

        try:
            write_board(directory)
        except GrngError as error:
            printer.chatter(f"note: TensorBoard's overview of {directory} is not written: {error}")
