"""Runs that are there already: found without starting anything, left untouched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError
from grng.runs.identity import run_id

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import RunResult
    from grng.training.events import RunEnded


def reused_event(result: RunResult) -> RunEnded:
    """Return the event of a run that was there already."""
    from grng.training.events import RunEnded

    return RunEnded(result, reused=True)


def stored_result(config: RunConfig, directory: Path) -> RunResult | None:
    """Return the result of a run if it finished or diverged; None if it is to be done, resumed or retried."""
    from grng.runs.result import RunResult

    path = directory / "result.json"
    if not path.exists():
        return None
    try:
        result = RunResult.load(path)
    except GrngError:  # damaged: the run itself says so, or is done again
        return None
    ended = result.status in ("finished", "diverged")
    return result if ended and result.run_id == run_id(config) else None
