"""What executors that do several runs at once share: the queue, a thread for each, what precedes and ends a run."""

from __future__ import annotations

import queue
import threading
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from grng.experiments.pool.elsewhere import check_free
from grng.experiments.pool.executor import EventHandler, Executor, ignore_event
from grng.experiments.pool.failed import failure_event, is_users, record_failure
from grng.experiments.pool.reuse import reused_event, stored_result
from grng.experiments.pool.slots import Slot

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import Reason, RunResult


@dataclass
class QueuedRun:
    """A run that was submitted."""

    config: RunConfig
    directory: Path
    on_event: EventHandler
    rerun: bool
    future: Future[RunResult] = field(default_factory=Future)

    def done_elsewhere(self) -> RunResult | None:
        """Return the result where another process has done the run since it was submitted: no worker is begun then.

        Raises:
            DirectoryInUseError: Another process does it.
        """
        if self.rerun:
            return None
        if stored := stored_result(self.config, self.directory):
            self.on_event(reused_event(stored))
            return stored
        check_free(self.directory)
        return None

    def failed(self, error: Exception, trace: str, *, reason: Reason = "crash") -> RunResult:
        """Write down that the run failed, and return that as its result; errors of the user's making are raised."""
        if is_users(error):
            raise error
        result = record_failure(self.config, self.directory, trace or str(error), reason=reason)
        self.on_event(failure_event(result))
        return result


class QueuedExecutor(Executor):
    """Does runs in the order in which they were submitted, as many at once as there are slots."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[QueuedRun | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._told: set[Path] = set()
        self._stopping = False

    def submit(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler | None = None, rerun: bool = False
    ) -> Future[RunResult]:
        """Queue a run."""
        run = QueuedRun(config, directory, on_event or ignore_event, rerun)
        self._waiting.put(run)
        return run.future

    def stop(self, directory: Path) -> None:
        """Have one run stop; one that waits does so as soon as it has begun."""
        self._told.add(directory)
        self._tell(directory)

    @abstractmethod
    def _tell(self, directory: Path) -> None:
        """Tell the run in `directory`, which is in `_told` already, to stop, where it has begun."""

    @abstractmethod
    def _do(self, run: QueuedRun, slot: Slot) -> RunResult:
        """Do one run on `slot`."""

    def _start_threads(self, slots: Sequence[Slot]) -> None:
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in slots]
        for thread in self._threads:
            thread.start()

    def _join_threads(self, timeout: float | None) -> None:
        """Wait until what was submitted has been done, for at most `timeout` seconds a slot."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(timeout)

    def _serve(self, slot: Slot) -> None:
        """Do one run after the other on `slot`: the life of one of the threads."""
        while (run := self._waiting.get()) is not None:
            if self._stopping:
                run.future.cancel()
            if not run.future.set_running_or_notify_cancel():
                continue
            try:
                run.future.set_result(self._do(run, slot))
            except BaseException as error:
                run.future.set_exception(error)
            finally:
                self._told.discard(run.directory)
