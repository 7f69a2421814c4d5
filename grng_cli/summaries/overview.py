"""TensorBoard's overview of experiments, kept up to date by the commands that read all their runs anyway."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from grng.errors import GrngError
from grng_cli.output import Output
from grng_cli.report_page import MANY
from grng_cli.wording import command


def refresh_boards(directories: Iterable[Path | None], printer: Output) -> None:
    """Write the overview of each experiment directory that lacks a current one.

    Where there are more than `report_page.MANY` runs it is left out, since it takes as long as they take to read, and
    how to write it is said. That it cannot be written, on a disk that is full or not one's own, changes nothing about
    what was asked for.

    Args:
        directories: Those of experiments; None is passed over.
        printer: Of the command.
    """
    for directory in dict.fromkeys(directories):
        # Asked here as well, since TensorBoard's modules take as long to load as a report takes.
        if directory is None or not any(directory.glob("*/seed*/events.out.tfevents.*")):
            continue
        if sum(1 for _ in islice(directory.glob("*/seed*"), MANY + 1)) > MANY:
            code = f"import pathlib, grng.report.board as b; b.write_board(pathlib.Path({str(directory)!r}))"
            printer.chatter(f"TensorBoard: more than {MANY} runs; for its overview: {command('python', '-c', code)}")
            continue
        from grng.report.board import write_board

        try:
            write_board(directory)
        except GrngError as error:
            printer.chatter(f"note: TensorBoard's overview of {directory} is not written: {error}")
