"""A pool on this machine: one process per run, each on cores of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING

from grng.experiments.pool import server, worker
from grng.experiments.pool.deadline import Deadline
from grng.experiments.pool.executor import EventHandler, Runner, run_training, stopped_result
from grng.experiments.pool.printed import Printed
from grng.experiments.pool.queued import QueuedExecutor, QueuedRun
from grng.experiments.pool.slots import Slot
from grng.runs.kernel_kills import kernel_kills, rose

if TYPE_CHECKING:
    from grng.runs.result import RunResult

ATTEMPTS = 2
"""A run whose worker dies gets one retry, which resumes."""

STOP = signal.SIGTERM
"""Tells a worker to save itself and stop; one that has not begun yet dies of it without a word, unlike of SIGINT."""

STOP_SECONDS = 60.0
"""How long a worker that was told to stop may take to save itself before it is killed."""


@dataclass(frozen=True)
class WorkerDied:
    """Event: the worker of a run died.

    Args:
        pid: Its process id.
        reason: How it ended, in words.
        retried: Whether the run gets another worker.
        exhausted: Whether the kernel says that it killed a process because memory ran out.
        timed_out: Whether it had to go because the run's time was over.
    """

    pid: int
    reason: str
    retried: bool
    exhausted: bool = False
    timed_out: bool = False


class Cancelled(KeyboardInterrupt):
    """The executor was told to cancel before this run had ended; the run saved what it had."""


class LocalExecutor(QueuedExecutor):
    """Shares a machine among worker processes.

    Args:
        slots: One per worker: its cores, threads and GPU (`grng.experiments.pool.slots.share_out`).
        runner: What a worker calls; picklable.
        timeout: Seconds that a run may take, its retry included; then it saves itself and has failed. None: no limit.
    """

    def __init__(self, slots: Sequence[Slot], *, runner: Runner = run_training, timeout: float | None = None) -> None:
        super().__init__()
        self._runner = runner
        self._timeout = timeout
        self._lock = threading.Lock()  # starting and reaping processes, and who runs
        self._running: dict[ForkServerProcess, Path] = {}
        self._begun: set[Path] = set()  # a worker that has not said a word yet would die of what tells it to stop
        self._untold: set[Path] = set()
        server.start_early()
        self._start_threads(slots)

    def shutdown(self, *, cancel: bool = False) -> None:
        """End the pool; with `cancel` every worker is told once and has the time to save, a second interrupt kills."""
        if cancel:
            self._stop_workers()
        try:
            self._join_threads(STOP_SECONDS if cancel else None)
        except BaseException:
            self._stop_workers()
            self._signal(signal.SIGKILL)
            raise
        self._signal(signal.SIGKILL)

    def _stop_workers(self) -> None:
        with self._lock:
            already, self._stopping = self._stopping, True
        if not already:
            self._signal(STOP)

    def _tell(self, directory: Path) -> None:
        with self._lock:
            process = next((one for one, there in self._running.items() if there == directory), None)
            if process is None or directory not in self._begun:
                self._untold.add(directory)
                return
        self._signal(STOP, process)

    def _has_begun(self, process: ForkServerProcess, directory: Path) -> None:
        with self._lock:
            self._begun.add(directory)
            told = directory in self._untold
            self._untold.discard(directory)
        if told:
            self._signal(STOP, process)

    def _signal(self, number: signal.Signals, only: ForkServerProcess | None = None) -> None:
        """Send a signal to every worker that has not been reaped, or to one of them."""
        with self._lock:
            for process in self._running:
                if process.pid is not None and only in (None, process):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, number)

    def _do(self, run: QueuedRun, slot: Slot) -> RunResult:
        """Do one run, with one retry when its worker dies.

        Raises:
            DirectoryInUseError: Another process does it.
        """
        if stored := run.done_elsewhere():
            return stored
        died = WorkerDied(0, "", retried=False)
        begun = time.monotonic()
        for attempt in range(ATTEMPTS):
            left = None if self._timeout is None else self._timeout - (time.monotonic() - begun)
            # A retry resumes: what a rerun was to throw away is gone by then.
            message = self._attempt(run, slot, rerun=run.rerun and attempt == 0, seconds=left)
            if self._stopping and not isinstance(message, worker.Done):
                raise Cancelled
            if isinstance(message, worker.Done):
                return message.result
            if isinstance(message, worker.Stopped):
                return stopped_result(run.directory)
            if isinstance(message, worker.Failed):
                return run.failed(message.error, message.trace)
            if message.timed_out:
                return run.failed(TimeoutError(message.reason), "", reason="timeout")
            died = replace(message, retried=attempt + 1 < ATTEMPTS)
            run.on_event(died)
        error = RuntimeError(f"the worker died twice; the last time {died.reason}")
        return run.failed(error, "", reason="oom" if died.exhausted else "crash")

    def _attempt(
        self, run: QueuedRun, slot: Slot, *, rerun: bool, seconds: float | None
    ) -> worker.Done | worker.Failed | worker.Stopped | WorkerDied:
        """Do one run in a new process, within `seconds`, passing its events on."""
        with Printed() as printed:
            before = kernel_kills()
            job = worker.Job(run.config, run.directory, slot, rerun, printed, self._runner)
            process, channel = self._start(job)
            pid = process.pid or 0

            def on_event(event: object) -> None:
                if run.directory not in self._begun:
                    self._has_begun(process, run.directory)
                run.on_event(event)

            with Deadline(seconds, lambda number: self._signal(number, process)) as deadline:
                with channel:
                    ending = _listen(channel, on_event)
                code = self._reap(process)
            if isinstance(ending, worker.Done | worker.Failed):
                return ending
            if isinstance(ending, worker.Stopped) and run.directory in self._told:
                return ending
            if deadline.passed:
                saved = "it saved itself" if ending else "it did not save itself in time"
                reason = f"stopped after {self._timeout:g} s (--timeout); {saved}, and goes on when it is run again"
                return WorkerDied(pid, reason, retried=False, timed_out=True)
            exhausted = code == -signal.SIGKILL and rose(before, kernel_kills())
            reason = "it was told to stop" if ending else how_ended(code, printed, exhausted=exhausted)
            return WorkerDied(pid, reason, retried=False, exhausted=exhausted)

    def _start(self, job: worker.Job) -> tuple[ForkServerProcess, Connection]:
        context = server.context()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=worker.main, args=(job, sender))
        # Under the lock: Process.start also polls the other processes, which must not meet their own thread's join.
        with self._lock:
            process.start()
            sender.close()  # so that the end of the worker is the end of the pipe
            self._running[process] = job.directory
            if self._stopping and process.pid is not None:
                os.kill(process.pid, STOP)
        return process, receiver

    def _reap(self, process: ForkServerProcess) -> int:
        wait([process.sentinel])
        with self._lock:
            self._begun.discard(self._running.pop(process))
            process.join()
            code = process.exitcode
            process.close()
        return code if code is not None else -1


def _listen(channel: Connection, on_event: EventHandler) -> worker.Done | worker.Failed | worker.Stopped | None:
    """Pass events on until the worker's last word, which is returned; None: it died without one."""
    while True:
        try:
            message: worker.Done | worker.Failed | worker.Stopped | worker.Event = channel.recv()
        except (EOFError, OSError):
            return None
        if not isinstance(message, worker.Event):
            return message
        on_event(message.event)


def how_ended(code: int, printed: Printed, *, exhausted: bool = False) -> str:
    """Say how a process ended, with the last that it printed."""
    try:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        how += ", by the kernel, since memory ran out" if exhausted else ""
    except ValueError:
        how = f"exit code {code}"
    tail = printed.tail()
    return f"{how}: {tail}" if tail else how
