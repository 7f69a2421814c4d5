"""Runs on a Ray cluster: one task per run, in a directory that all machines share."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng.errors import DirectoryInUseError, GrngError
from grng.experiments.on_ray.attempt import Attempt, Lost, ending_of, first_line
from grng.experiments.on_ray.cluster import ADDRESS, load_ray
from grng.experiments.on_ray.task import Mailbox, do_run
from grng.experiments.pool.deadline import Deadline
from grng.experiments.pool.elsewhere import check_free
from grng.experiments.pool.executor import EventHandler, Runner, run_training, stopped_result
from grng.experiments.pool.local import ATTEMPTS, STOP_SECONDS, Cancelled, WorkerDied
from grng.experiments.pool.queued import QueuedExecutor, QueuedRun
from grng.experiments.pool.slots import Slot
from grng.experiments.pool.worker import Done, Failed, Stopped

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import RunResult

LOST_MACHINES = 10
"""A run outlives so many deaths of machines, which are not its fault, besides the one retry of a worker that died."""

TAKE_SECONDS = 0.2
"""Between two looks for events of the runs."""

CLAIM_SECONDS = 120.0
"""How long the file server may take to find out that a machine which held a run's lock is gone."""


class RayExecutor(QueuedExecutor):
    """Hands runs to a Ray cluster that this process is connected to (`ray_cluster.connect`).

    A run whose worker dies gets one retry, one whose machine dies several, wherever Ray finds room; a retry resumes
    from the run's checkpoint.

    Args:
        slots: One per run at once, all alike: the cores and the share of a GPU that a run asks for.
        runner: What does a run on its machine; picklable.
        timeout: Seconds that a run may take once it has begun, its retries included; None: no limit.
    """

    def __init__(self, slots: Sequence[Slot], *, runner: Runner = run_training, timeout: float | None = None) -> None:
        super().__init__()
        self._ray = load_ray()
        self._runner = runner
        self._timeout = timeout
        # One process per run, as on this machine: its memory is its own, and gone with it.
        resources = {"num_cpus": slots[0].threads, "num_gpus": slots[0].gpus, "max_retries": 0, "max_calls": 1}
        self._task = self._ray.remote(**resources)(do_run)
        self._mailbox = self._start_mailbox()
        self._attempts: dict[str, Attempt] = {}
        self._lock = threading.Lock()  # who runs, and whether anybody should
        self._taking = threading.Lock()
        self._closed = threading.Event()
        self._start_threads(slots)
        threading.Thread(target=self._listen, daemon=True).start()

    def submit(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler | None = None, rerun: bool = False
    ) -> Future[RunResult]:
        """Queue a run; its directory has the same name on all machines."""
        return super().submit(config, directory.absolute(), on_event=on_event, rerun=rerun)

    def stop(self, directory: Path) -> None:
        """Have one run stop."""
        super().stop(directory.absolute())

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what was submitted; with `cancel` every run is told to stop, once, and has the time to save."""
        if cancel:
            self._stop_all()
        try:
            self._join_threads(STOP_SECONDS if cancel else None)
        finally:
            self._stop_all()
            self._closed.set()
            self._cancel_all(force=True)
            with contextlib.suppress(Exception):
                self._ray.kill(self._mailbox)

    def _start_mailbox(self) -> Any:
        """Start the mailbox on this process's machine, whose end neither outlives; for a client, on the head node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        home = self._ray.get_runtime_context().get_node_id()
        # Not `soft`: Ray takes that for a preference between machines that have as much to spare.
        here = NodeAffinitySchedulingStrategy(home, soft=False)
        return self._ray.remote(num_cpus=0, max_restarts=-1)(Mailbox).options(scheduling_strategy=here).remote()

    def _stop_all(self) -> None:
        with self._lock:
            already, self._stopping = self._stopping, True
        if not already:
            self._cancel_all(force=False)

    def _cancel_all(self, *, force: bool) -> None:
        with self._lock:
            attempts = list(self._attempts.values())
        for attempt in attempts:
            self._cancel(attempt, force=force)

    def _tell(self, directory: Path) -> None:
        with self._lock:
            attempts = [attempt for attempt in self._attempts.values() if attempt.directory == directory]
        for attempt in attempts:
            self._cancel_told(attempt)

    def _cancel_told(self, attempt: Attempt) -> None:
        """Cancel an attempt that is to stop, once; one that has not begun has nothing to save yet and goes on."""
        if attempt.begun.is_set() and not attempt.told:
            attempt.told = True
            self._cancel(attempt, force=False)

    def _cancel(self, attempt: Attempt, *, force: bool) -> None:
        with contextlib.suppress(Exception):  # it has ended, or its machine has
            self._ray.cancel(attempt.task, force=force, recursive=False)

    def _listen(self) -> None:
        while not self._closed.wait(TAKE_SECONDS):
            self._take()

    def _take(self) -> None:
        """Pass on the events that have come in and what was printed; by one thread at a time, to keep their order."""
        with self._taking:
            events: list[tuple[str, Any]] = []
            # A mailbox that has crashed and is starting again: events are only shown, results come by themselves.
            with contextlib.suppress(Exception):
                events = self._ray.get(self._mailbox.take.remote(), timeout=30)
            with self._lock:  # now: it knows every attempt that may have sent one of them
                attempts = dict(self._attempts)
            for key, event in events:
                if key in attempts:
                    attempts[key].receive(event)
            for attempt in attempts.values():
                attempt.read_log()
                if attempt.directory in self._told:
                    self._cancel_told(attempt)

    def _do(self, run: QueuedRun, slot: Slot) -> RunResult:
        """Do one run.

        Raises:
            GrngError: The cluster is out of reach.
            DirectoryInUseError: Another process does it.
        """
        try:
            return self._do_until_done(run, slot)
        except ConnectionError as error:
            raise GrngError(
                f"the connection to the Ray cluster is lost: {first_line(error)}",
                where=ADDRESS,
                hint="The same command goes on where it stopped, once there is a cluster again.",
            ) from None

    def _do_until_done(self, run: QueuedRun, slot: Slot) -> RunResult:
        """Do one run, again when its worker or its machine dies.

        Raises:
            DirectoryInUseError: Another process does it.
        """
        if stored := run.done_elsewhere():
            return stored
        workers, machines, left = 0, 0, self._timeout
        while True:
            # A retry resumes: what a rerun was to throw away is gone by then.
            attempt = Attempt(run.directory, run.on_event)
            outcome = self._attempt(attempt, run, slot, rerun=run.rerun and not workers + machines, seconds=left)
            if self._stopping and not isinstance(outcome, Done):
                raise Cancelled
            if isinstance(outcome, Done):
                return outcome.result
            if isinstance(outcome, Stopped):
                return stopped_result(run.directory)
            if isinstance(outcome, Failed):
                return run.failed(outcome.error, outcome.trace)
            if outcome.timed_out:
                return run.failed(TimeoutError(outcome.reason), "", reason="timeout")
            workers, machines = workers + (not outcome.machine), machines + outcome.machine
            retried = workers < ATTEMPTS and machines <= LOST_MACHINES
            run.on_event(WorkerDied(0, outcome.reason, retried=retried, exhausted=outcome.exhausted))
            if not retried:
                error = RuntimeError(f"the worker died {workers + machines} times; the last time: {outcome.reason}")
                return run.failed(error, "", reason="oom" if outcome.exhausted else "crash")
            left = None if left is None else left - attempt.seconds
            self._await_release(run.directory)

    def _attempt(
        self, attempt: Attempt, run: QueuedRun, slot: Slot, *, rerun: bool, seconds: float | None
    ) -> Done | Failed | Stopped | Lost:
        arguments = (run.config, str(run.directory), self._runner, rerun, slot.time_shared, self._mailbox, attempt.key)
        with self._lock:
            attempt.task = self._task.remote(*arguments)
            self._attempts[attempt.key] = attempt
            stopping = self._stopping
        if stopping:
            self._cancel(attempt, force=False)
        try:
            outcome = self._await(attempt, seconds)
            self._take()
            with self._taking:
                attempt.read_log(last=True)
            if isinstance(outcome, Lost) and not outcome.timed_out and (words := attempt.last_words()):
                return replace(outcome, reason=f"{outcome.reason}: {words}")
            return outcome
        finally:
            with self._lock:
                del self._attempts[attempt.key]
            attempt.close()

    def _await(self, attempt: Attempt, seconds: float | None) -> Done | Failed | Stopped | Lost:
        while seconds is not None and not attempt.begun.is_set():  # to wait for room in the cluster costs a run no time
            if self._ray.wait([attempt.task], timeout=TAKE_SECONDS)[0]:
                break

        def stop(number: signal.Signals) -> None:
            self._cancel(attempt, force=number == signal.SIGKILL)

        with Deadline(seconds, stop) as deadline:
            ending = ending_of(self._ray, attempt.task)
        if isinstance(ending, Stopped) and attempt.directory in self._told:
            return ending
        if deadline.passed and not isinstance(ending, Done | Failed):
            saved = "it saved itself" if isinstance(ending, Stopped) else "it may not have saved itself in time"
            reason = f"stopped after {self._timeout:g} s (--timeout); {saved}, and goes on when it is run again"
            return Lost(reason, timed_out=True)
        return Lost("it was told to stop") if isinstance(ending, Stopped) else ending

    def _await_release(self, directory: Path) -> None:
        """Wait until the lock of a run whose machine died is let go.

        Raises:
            DirectoryInUseError: It is not: that machine may be alive, and only out of reach.
        """
        deadline = time.monotonic() + CLAIM_SECONDS
        while True:
            try:
                return check_free(directory)
            except DirectoryInUseError:
                if self._stopping or time.monotonic() > deadline:
                    raise
            time.sleep(1)
