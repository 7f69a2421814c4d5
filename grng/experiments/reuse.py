"""Runs that are there already: found without starting anything, left untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grng.errors import GrngError
from grng.experiments.plan import PlannedRun
from grng.runs.identity import run_id

if TYPE_CHECKING:
    from grng.runs.result import RunResult


def stored_result(run: PlannedRun) -> RunResult | None:
    """Return the result of `run` if it finished or diverged; None if it is to be done, resumed or retried."""
    from grng.runs.result import RunResult

    path = run.directory / "result.json"
    if not path.exists():
        return None
    try:
        result = RunResult.load(path)
    except GrngError:  # damaged: the run itself says so, or is done again
        return None
    ended = result.status in ("finished", "diverged")
    return result if ended and result.run_id == run_id(run.config) else None
