"""One attempt at a run on a Ray cluster, as seen from here: what it reports, what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grng.experiments.on_ray.task import Printed, log_file
from grng.experiments.pool.executor import EventHandler
from grng.experiments.pool.worker import Done, Failed, Stopped

LINES_SHOWN = 20
"""How many lines that the process of an attempt prints are passed on."""

_LAST_WORDS = 2000


@dataclass(frozen=True)
class Lost:
    """An attempt came to nothing: its worker or machine died, or its time was over.

    Args:
        reason: How, in words.
        exhausted: Whether memory ran out.
        machine: Whether the machine died.
        timed_out: Whether the run's time was over.
    """

    reason: str
    exhausted: bool = False
    machine: bool = False
    timed_out: bool = False


class Attempt:
    """An attempt at a run.

    Args:
        directory: The run's.
        on_event: Receives its events, and a `Printed` for what it prints.

    Attributes:
        directory: The run's.
        key: Its name in the mailbox.
        task: Ray's reference to it, once it is handed over.
        begun: Whether it has reported anything.
        told: Whether it alone was told to stop.
    """

    def __init__(self, directory: Path, on_event: EventHandler) -> None:
        self.directory = directory
        self.key = uuid.uuid4().hex
        self.task: Any = None
        self.begun = threading.Event()
        self.told = False
        self._on_event = on_event
        self._log = log_file(directory, self.key)
        self._since = 0.0
        self._read = 0
        self._rest = b""
        self._shown = 0

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self._since if self.begun.is_set() else 0.0

    def receive(self, event: Any) -> None:
        """Pass an event on."""
        if not self.begun.is_set():
            self._since = time.monotonic()
            self.begun.set()
        self._on_event(event)

    def read_log(self, *, last: bool = False) -> None:
        """Pass on the lines that its process has printed since the last time; `last`: the unfinished one, too."""
        if self._shown >= LINES_SHOWN:
            return
        with contextlib.suppress(OSError):  # it has not begun, or the disk is slow to show it
            with self._log.open("rb") as log:
                log.seek(self._read)
                new = log.read()
            self._read += len(new)
            *lines, self._rest = (self._rest + new).split(b"\n")
            for line in [*lines, self._rest] if last else lines:
                text = line.decode(errors="replace").rstrip()
                if text and self._shown < LINES_SHOWN:
                    self._shown += 1
                    self._on_event(Printed(text))

    def last_words(self) -> str:
        """Return the end of what its process has printed."""
        with contextlib.suppress(OSError):
            return self._log.read_text(errors="replace")[-_LAST_WORDS:].strip()
        return ""

    def close(self) -> None:
        """Remove what it has printed."""
        with contextlib.suppress(OSError):
            self._log.unlink(missing_ok=True)


def ending_of(ray: Any, task: Any) -> Done | Failed | Stopped | Lost:
    """Wait for a task of `ray_task.do_run` and return how it ended.

    Args:
        ray: The module.
        task: Ray's reference.
    """
    errors = ray.exceptions
    try:
        ending: Done | Failed | Stopped = ray.get(task)
    except errors.TaskCancelledError:
        return Lost("it was cancelled")
    except errors.OutOfMemoryError as error:
        return Lost(f"killed by Ray, since memory ran out: {first_line(error)}", exhausted=True)
    except errors.NodeDiedError:
        return Lost("its machine is gone", machine=True)
    except errors.RayTaskError as error:  # before the run had begun: that machine lacks what it needs
        return Failed(RuntimeError(first_line(error)), str(error))
    except errors.RayError as error:
        return Lost(first_line(error))
    return ending


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
