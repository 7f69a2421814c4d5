"""What runs inside a worker process: one run, then the end."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from grng.experiments.pool.executor import Runner
from grng.experiments.pool.printed import Printed
from grng.experiments.pool.slots import Slot

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import RunResult

ORPHAN_SECONDS = 4.0
"""How long a worker whose parent is gone may take to save itself."""

EVENT_INTERVAL = 0.1
"""Seconds between two StepDone events that are sent; the parent only shows them."""


@dataclass(frozen=True)
class Job:
    """One run for one worker."""

    config: RunConfig
    directory: Path
    slot: Slot
    rerun: bool
    printed: Printed
    runner: Runner


@dataclass(frozen=True)
class Done:
    """The run has a result."""

    result: RunResult


@dataclass(frozen=True)
class Stopped:
    """The run was told to stop, saved itself and did."""


@dataclass(frozen=True)
class Failed:
    """The run raised `error`; `trace` is its traceback as text."""

    error: Exception
    trace: str


@dataclass(frozen=True)
class Event:
    """Something that the run reports on its way."""

    event: Any


def main(job: Job, channel: Connection) -> None:
    """Do one job and send what becomes of it: the target of the process."""
    redirect_to(job.printed.fileno())
    signal.signal(signal.SIGTERM, _terminate)
    _watch_parent()
    _take(job.slot)
    send = _Sender(channel)
    try:
        result = job.runner(
            job.config, job.directory, on_event=send.event, time_shared=job.slot.time_shared, rerun=job.rerun
        )
    except KeyboardInterrupt:
        send(Stopped())
    except Exception as error:
        send(_failure(error))
    else:
        send(Done(result))


def _failure(error: Exception) -> Stopped | Failed:
    from grng.training.errors import Interrupted

    if isinstance(error, Interrupted):
        return Stopped()
    return Failed(error, traceback.format_exc())


class _Sender:
    """Sends messages to the parent, step events thinned out; a parent that is gone is no error of the run."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._last_step = 0.0

    def __call__(self, message: Done | Stopped | Failed | Event) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            try:
                self._channel.send(message)
            except (TypeError, AttributeError, ValueError):  # an exception that does not pickle
                if not isinstance(message, Failed):
                    raise
                self._channel.send(Failed(RuntimeError(repr(message.error)), message.trace))

    def event(self, event: Any) -> None:
        if type(event).__name__ == "StepDone":
            now = time.monotonic()
            if now - self._last_step < EVENT_INTERVAL:
                return
            self._last_step = now
        self(Event(event))


def redirect(log: Path) -> None:
    """Send what the run's libraries print, and a crash's stack, to `log`: the terminal shows the parent's progress."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    redirect_to(descriptor)
    os.close(descriptor)


def redirect_to(descriptor: int) -> None:
    """Do as `redirect`, to an open file."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable(file=2)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _take(slot: Slot) -> None:
    """Keep to the slot's cores, threads and GPU."""
    if slot.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpu
    if slot.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, slot.cores)
    import torch

    torch.set_num_threads(slot.threads)


def _watch_parent() -> None:
    """Start a thread that stops this process when its parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_stop_when_ready, args=(parent.sentinel,), daemon=True).start()


def _stop_when_ready(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(143)
