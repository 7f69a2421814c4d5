"""A run's files while it trains: metrics, TensorBoard events and checkpoints, kept in step with each other."""

from __future__ import annotations

import contextlib
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grng.runs.config import RunConfig
from grng.runs.files import explain_os_errors, is_temporary
from grng.runs.identity import run_id
from grng.runs.result import Reason, RunResult, Status
from grng.runs.rundir import RunDirectory
from grng.training.checkpoint import Latest, load_latest, save_checkpoint
from grng.training.evaluate import Scores
from grng.training.events import CheckpointSaved, Event
from grng.training.listeners.event_file import EVENT_FILES, cut_back, sizes
from grng.training.listeners.jsonl import JsonLines
from grng.training.listeners.tensorboard import TensorBoard
from grng.training.outcome import Circumstances, build_result
from grng.training.session import Session


class RunFiles:
    """The open files of one run; a listener of its events. Opening them loads the session from the last checkpoint.

    Metrics and events are forced to the disk before each checkpoint, which holds their lengths: a run that goes on from
    it cuts off what came later, so that every step is there once. Each checkpoint is kept until the second one after it
    is complete: where the last is damaged, the run goes on from the one before. Of several processes the leading one
    has them, the others have `Follower`s.

    Args:
        directory: The run directory, claimed by this process.
        config: The resolved config.
        session: The run in memory, not yet begun.
        time_shared: Whether other runs use the same cores or device.

    Raises:
        RunDirectoryError: If the files cannot be written, or the checkpoint cannot be read.
    """

    def __init__(self, directory: RunDirectory, config: RunConfig, session: Session, *, time_shared: bool) -> None:
        self._directory = directory
        self._config = config
        self._session = session
        self._run_id = run_id(config)
        self._every = config.logging.checkpoint_every
        self._seconds = config.logging.checkpoint_seconds
        self._time_shared = time_shared
        self._begun = self._saved_at = time.monotonic()
        self._saved_step: int | None = None
        latest = self._load()
        checkpoint = latest.content if latest else None
        self.resumed_from = latest.source if latest else None
        self.resumed_from_step: int | None = checkpoint["progress"]["step"] if checkpoint else None
        self.warnings: tuple[str, ...] = (latest.warning,) if latest and latest.warning else ()
        self._created = datetime.fromisoformat(checkpoint["created"]) if checkpoint else datetime.now(UTC)
        self._earlier_s: float = checkpoint["total_s"] if checkpoint else 0.0
        with contextlib.ExitStack() as opened:
            self._metrics = JsonLines(directory.metrics_file, position=checkpoint["metrics_bytes"] if checkpoint else 0)
            opened.callback(self._metrics.close)
            self._board = self._open_board(config)
            self._opened = opened.pop_all()
        if self._board is not None:
            self._opened.callback(self._board.close)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._directory.path

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self._metrics(event)
        if self._board is not None:
            self._board(event)

    def checkpoint_due(self, *, epoch_over: bool) -> bool:
        """Whether the state after the last step should be saved now."""
        step = self._session.progress.step
        by_count = self._every is not None and step % self._every == 0
        return epoch_over or by_count or time.monotonic() - self._saved_at >= self._seconds

    def save(self) -> CheckpointSaved | None:
        """Save the state after the last step; None if it is saved already."""
        step = self._session.progress.step
        if self._saved_step == step:
            return None
        if self._board is not None:
            self._board.sync()
        position = self._metrics.sync()
        facts: dict[str, Any] = {"run_id": self._run_id, "created": self._created.isoformat()}
        facts |= {"total_s": self._total_s()}
        facts |= {"metrics_bytes": position, "event_bytes": sizes(self._directory.path)}
        path = self._directory.last_checkpoint
        # A last one that is damaged must not take the place of the good one before it.
        damaged = self.resumed_from == "previous" and self._saved_step is None
        previous = None if damaged else self._directory.previous_checkpoint
        save_checkpoint(path, {**facts, **self._session.state_dict()}, previous=previous)
        self._saved_step = step
        self._saved_at = time.monotonic()
        return CheckpointSaved(step, path)

    def save_best(self, *, val_accuracy: float) -> None:
        """Keep the present weights as the best, and their average where there is one: that is what was evaluated."""
        progress = self._session.progress
        facts = {"run_id": self._run_id, "step": progress.step, "epoch": progress.epoch, "val_accuracy": val_accuracy}
        save_checkpoint(self._directory.best_checkpoint, {**facts, **self._session.weights()})

    def record(
        self,
        *,
        status: Status,
        reason: Reason | None = None,
        message: str | None = None,
        test: Scores | None = None,
    ) -> RunResult:
        """Write `result.json` (arguments as for `build_result`) and return what it holds."""
        circumstances = Circumstances(
            self._created, self._total_s(), self.resumed_from_step, self._time_shared, self.resumed_from
        )
        result = build_result(
            self._config, self._session, circumstances, status=status, reason=reason, message=message, test=test
        )
        result.save(self._directory.result_file)
        return result

    def close(self) -> None:
        """Close all files."""
        self._opened.close()

    def _total_s(self) -> float:
        return self._earlier_s + time.monotonic() - self._begun

    def _load(self) -> Latest | None:
        self._remove_temporaries()
        directory = self._directory
        latest = load_latest(directory.last_checkpoint, directory.previous_checkpoint, run_id=self._run_id)
        if latest is None:
            # Whatever a process wrote that was killed before its first checkpoint belongs to no step that will be kept.
            clear(directory)
            return None
        self._session.load_state_dict(latest.content)
        self._session.memory.reset_peak()
        with explain_os_errors(directory.result_file):
            directory.result_file.unlink(missing_ok=True)
        if "event_bytes" in latest.content:
            cut_back(directory.path, latest.content["event_bytes"])
        return latest

    def _remove_temporaries(self) -> None:
        """Remove what a process left that was killed while it wrote; nobody else writes while we hold the claim."""
        with explain_os_errors(self._directory.path):
            for folder in (self._directory.path, self._directory.checkpoint_dir):
                for path in filter(is_temporary, folder.iterdir() if folder.exists() else ()):
                    path.unlink(missing_ok=True)

    def _open_board(self, config: RunConfig) -> TensorBoard | None:
        if not config.logging.tensorboard:
            return None
        resumed = self.resumed_from_step
        return TensorBoard(self._directory.path, purge_step=None if resumed is None else resumed + 1)


def clear(directory: RunDirectory) -> None:
    """Remove what a run wrote while it trained, so that it can be done again; the config and files of others stay.

    Raises:
        RunDirectoryError: If something cannot be removed.
    """
    with explain_os_errors(directory.path):
        # The result first: without it the rest counts as unfinished, with it half a run would count as finished.
        directory.result_file.unlink(missing_ok=True)
        directory.last_checkpoint.unlink(missing_ok=True)
        directory.previous_checkpoint.unlink(missing_ok=True)
        if directory.checkpoint_dir.exists():
            shutil.rmtree(directory.checkpoint_dir)
        directory.metrics_file.unlink(missing_ok=True)
        for path in directory.path.glob(EVENT_FILES):
            path.unlink()
