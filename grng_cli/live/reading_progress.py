"""A bar while run directories are read, on a terminal, once that has taken a while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.report.load import OnRead

AFTER_SECONDS = 1.0
"""What is read within that time needs no bar."""


@contextmanager
def reading(printer: Output) -> Iterator[OnRead]:
    """Yield what is to be told of every run that has been read.

    Args:
        printer: Of the command.
    """
    begun = time.monotonic()
    bar = Progress(
        TextColumn("reading runs"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=printer.stderr,
        disable=not printer.live,
        transient=True,
    )
    task = bar.add_task("")
    shown = False

    def on_read(done: int, total: int) -> None:
        nonlocal shown
        if not shown and time.monotonic() - begun >= AFTER_SECONDS:
            bar.start()
            shown = True
        if shown:
            bar.update(task, completed=done, total=total)

    try:
        yield on_read
    finally:
        if shown:
            bar.stop()
