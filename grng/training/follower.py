"""What a process has in place of a run's files where another one writes them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from grng.runs.config import RunConfig
from grng.runs.identity import run_id
from grng.runs.result import Reason, RunResult, Status
from grng.runs.rundir import RunDirectory
from grng.training.checkpoint import load_latest
from grng.training.evaluate import Scores
from grng.training.events import CheckpointSaved, Event
from grng.training.outcome import Circumstances, build_result
from grng.training.session import Session


class Follower:
    """Reads the checkpoint that the leading process goes on from, and writes nothing; used as `RunFiles` is.

    Args:
        directory: The run directory, claimed by the leading process, which has opened its files.
        config: The resolved config.
        session: The run in memory, not yet begun; loaded from the checkpoint where there is one.

    Raises:
        RunDirectoryError: If the checkpoint cannot be read.
    """

    def __init__(self, directory: RunDirectory, config: RunConfig, session: Session) -> None:
        self._config = config
        self._session = session
        self._created, self._begun = datetime.now(UTC), time.monotonic()
        self.path: Path = directory.path
        self.resumed_from_step: int | None = None
        self.resumed_from: Literal["last", "previous"] | None = None
        self.warnings: tuple[str, ...] = ()  # the leading process says them
        latest = load_latest(directory.last_checkpoint, directory.previous_checkpoint, run_id=run_id(config))
        if latest is not None:
            session.load_state_dict(latest.content)
            self.resumed_from_step, self.resumed_from = latest.content["progress"]["step"], latest.source

    def __call__(self, event: Event) -> None:
        """Write nothing."""

    def checkpoint_due(self, *, epoch_over: bool) -> bool:
        """Never: the leading process saves when it is due, and what it saves is every process's."""
        return False

    def save(self) -> CheckpointSaved | None:
        """Save nothing."""
        return None

    def save_best(self, *, val_accuracy: float) -> None:
        """Save nothing."""

    def record(
        self,
        *,
        status: Status,
        reason: Reason | None = None,
        message: str | None = None,
        test: Scores | None = None,
    ) -> RunResult:
        """Return the result, and write nothing; arguments as for `build_result`."""
        total_s = time.monotonic() - self._begun
        circumstances = Circumstances(self._created, total_s, self.resumed_from_step, time_shared=False)
        return build_result(
            self._config, self._session, circumstances, status=status, reason=reason, message=message, test=test
        )

    def close(self) -> None:
        """Nothing is open."""
