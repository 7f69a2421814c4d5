"""What is said of the disk before an experiment begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from grng_cli.output import Output
from grng_cli.wording import size

if TYPE_CHECKING:
    from grng.experiments.disk import Needed


def warn_before_start(measure: Callable[[], Needed | None], printer: Output) -> None:
    """Warn where the disk will not take what an experiment is about to write.

    Args:
        measure: Returns what it will write; may take a few steps of each optimizer.
        printer: Of the command.
    """
    with printer.busy("looking at the disk"):
        needed = measure()
    if needed is not None and not needed.fits:
        warn(needed.total, needed.free, needed.directory, printer)


def told_of_disk(needed: int | None, directory: Path, printer: Output) -> tuple[int | None, str]:
    """Return the free bytes of the disk of `directory` and the words on it of a dry run; warn where they are too few.

    Args:
        needed: Bytes to be written; None where that is not known.
        directory: The experiment's.
        printer: Of the command.
    """
    from grng.experiments.disk import free_bytes

    free = free_bytes(directory)
    if needed is not None and free is not None and needed > free:
        warn(needed, free, directory, printer)
    return free, size(needed) + " of disk" + ("" if free is None else f", {size(free)} free")


def warn(needed: int, free: int | None, directory: Path, printer: Output) -> None:
    """Say that the disk is too small."""
    printer.warning(
        f"the disk will not do: the runs will write about {size(needed)} to {directory}, and {size(free)} are free. "
        "Make room, or choose another disk with --output."
    )
