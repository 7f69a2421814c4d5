"""All runs of a plan, one result each: begun here, there already, or done by another process meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from grng.errors import DirectoryInUseError
from grng.experiments.machine import with_threads
from grng.experiments.plan import PlannedRun
from grng.experiments.pool.elsewhere import RunsElsewhere, ended_elsewhere
from grng.experiments.pool.executor import Executor
from grng.experiments.pool.reuse import reused_event
from grng.experiments.pool.slots import Slot

if TYPE_CHECKING:
    from grng.runs.result import RunResult

RunEvent = Callable[[PlannedRun, Any], None]
"""Receives the events of every run (`grng.training.events`, `WorkerDied`, `RunsElsewhere`); from any thread."""

POLL_SECONDS = 1.0
"""Between two looks at the runs of other processes."""


class Gathering:
    """Does the runs of a plan that have no result yet.

    Args:
        planned: The runs, in the order in which they are to be begun.
        stored: Results that are there, by the index of their run.
        pool: What runs them.
        slots: What the pool's workers get.
        on_event: Receives the runs' events.
        rerun: Do runs again that have a result; then a run that another process does is an error.
    """

    def __init__(
        self,
        planned: Sequence[PlannedRun],
        stored: Mapping[int, RunResult],
        pool: Executor,
        slots: Sequence[Slot],
        on_event: RunEvent,
        rerun: bool,
    ) -> None:
        self._planned = planned
        self._results = dict(stored)
        self._pool = pool
        self._slots = slots
        self._on_event = on_event
        self._rerun = rerun
        self._begun = datetime.now(UTC)
        self._here: dict[int, Future[RunResult]] = {}
        # Filled by the futures themselves: asking thousands of them after each run would cost more than the run.
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._elsewhere: set[int] = set()
        self._next_look = time.monotonic()

    def run(self) -> list[RunResult]:
        """Return the results in the plan's order.

        Raises:
            GrngError: The first problem of the user's making.
            KeyboardInterrupt: A run was told to stop.
        """
        for index, run in enumerate(self._planned):
            if index in self._results:
                self._on_event(run, reused_event(self._results[index]))
            else:
                self._submit(index)
        while self._here or self._elsewhere:
            self._wait()
            self._look_elsewhere()
        return [self._results[index] for index in range(len(self._planned))]

    def _submit(self, index: int) -> None:
        run = self._planned[index]
        config = with_threads(run.config, self._slots)
        on_event = partial(self._on_event, run)
        future = self._pool.submit(config, run.directory, on_event=on_event, rerun=self._rerun)
        self._here[index] = future
        future.add_done_callback(lambda _: self._ended.put(index))

    def _wait(self) -> None:
        if not self._here:
            time.sleep(POLL_SECONDS)
            return
        try:
            index = self._ended.get(timeout=POLL_SECONDS if self._elsewhere else None)
        except Empty:
            return
        error = (future := self._here.pop(index)).exception()
        if isinstance(error, DirectoryInUseError) and not self._rerun:
            self._elsewhere.add(index)
            self._on_event(self._planned[index], RunsElsewhere(error.message))
        elif error:
            raise error
        else:
            self._results[index] = future.result()

    def _look_elsewhere(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + POLL_SECONDS
        for index in sorted(self._elsewhere):
            run = self._planned[index]
            try:
                result = ended_elsewhere(run.config, run.directory, since=self._begun)
            except DirectoryInUseError:
                continue
            self._elsewhere.remove(index)
            if result is None:  # whoever did it is gone
                self._submit(index)
            else:
                self._results[index] = result
                self._on_event(run, reused_event(result))
