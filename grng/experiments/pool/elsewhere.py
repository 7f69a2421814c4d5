"""Runs that another process does at the same time: several comparisons that share one directory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError
from grng.experiments.pool.reuse import stored_result
from grng.runs.rundir import RunDirectory

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import RunResult


@dataclass(frozen=True)
class RunsElsewhere:
    """Event: another process does this run; its result will be taken.

    Args:
        who: The process, in words.
    """

    who: str


@dataclass(frozen=True)
class RunTaken:
    """Event: this process has taken a trial's run up; it begins when a worker is free."""


def check_free(directory: Path) -> None:
    """Raise DirectoryInUseError if a process is writing in the run directory."""
    if directory.is_dir():
        with RunDirectory(directory).claim():
            pass


def ended_elsewhere(config: RunConfig, directory: Path, *, since: datetime) -> RunResult | None:
    """Return what another process made of a run: its result, or its failure after `since`; None: it is to be done.

    Raises:
        DirectoryInUseError: It is still at it.
    """
    if stored := stored_result(config, directory):
        return stored
    check_free(directory)
    try:
        result = RunDirectory(directory).result()
    except GrngError:
        return None
    if result is None or result.status != "failed" or result.finished is None or result.finished < since:
        return None
    return result
