"""The result of a run that crashed: written by whoever watched it, since it could not do so itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import Reason, RunResult
    from grng.training.events import RunEnded


def is_users(error: Exception) -> bool:
    """Return whether `error` is for the user to mend, unlike a crash or a shortage of memory: a result of the run."""
    from grng.training.errors import RunFailed

    return isinstance(error, GrngError) and not isinstance(error, RunFailed)


def is_interrupt(error: Exception) -> bool:
    """Return whether `error` says that the run was told to stop, and has saved itself."""
    from grng.training.errors import Interrupted

    return isinstance(error, Interrupted)


def failure_event(result: RunResult) -> RunEnded:
    """Return the event that a run which crashed could not send."""
    from grng.training.events import RunEnded

    return RunEnded(result)


def record_failure(config: RunConfig, directory: Path, message: str, *, reason: Reason = "crash") -> RunResult:
    """Write a `result.json` with status failed into `directory`, unless the run has written its own, and return it.

    Args:
        config: The run's resolved config.
        directory: The run's directory; made when the run did not come so far.
        message: What happened.
        reason: Why in a word; `oom` adds what needs less memory.

    Raises:
        RunDirectoryError: If it cannot be written.
    """
    from grng.runs.exhausted import memory_hint
    from grng.runs.identity import described
    from grng.runs.result import RunResult
    from grng.runs.rundir import RunDirectory

    place = RunDirectory(directory)
    place.prepare(config)
    own = place.result()
    if own is not None and own.status == "failed":
        return own
    now = datetime.now(UTC)
    result = RunResult(
        status="failed",
        reason=reason,
        message=f"{message}. {memory_hint(config)}" if reason == "oom" else message,
        **described(config),
        created=now,
        finished=now,
    )
    result.save(place.result_file)
    return result
