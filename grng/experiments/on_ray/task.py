"""What runs on a machine of a Ray cluster: one run in a process of its own; and the mailbox for what it reports."""

from __future__ import annotations

import contextlib
import pickle
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng.experiments.pool.executor import Runner
from grng.experiments.pool.failed import is_users
from grng.experiments.pool.worker import Done, Failed, Stopped, redirect

if TYPE_CHECKING:
    from grng.runs.config import RunConfig

EVENT_SECONDS = 0.25
"""Between two StepDone events that are sent; the terminal only shows them."""

_LAST_EVENT_SECONDS = 30.0


@dataclass(frozen=True)
class Printed:
    """Event: a run's process wrote a line to its output: a warning of a library, mostly.

    Args:
        line: The line.
    """

    line: str


class Mailbox:
    """An actor that holds the events of all runs until they are taken."""

    def __init__(self) -> None:
        self._events: list[tuple[str, Any]] = []

    def put(self, key: str, event: Any) -> None:
        """Take in an event of the attempt `key`."""
        self._events.append((key, event))

    def take(self) -> list[tuple[str, Any]]:
        """Return the events since the last time."""
        taken, self._events = self._events, []
        return taken


def log_file(directory: Path, key: str) -> Path:
    """Return where what the process of an attempt prints goes: beside the run, on the disk that all machines share."""
    return directory.parent / f".{directory.name}-{key[:12]}.log"


def do_run(
    config: RunConfig, directory: str, runner: Runner, rerun: bool, time_shared: bool, mailbox: Any, key: str
) -> Done | Failed | Stopped:
    """Do or resume one run: the task. Ray interrupts it as Ctrl-C would; its threads are those of the config.

    Args:
        config: A resolved config.
        directory: The run's.
        runner: What does it.
        rerun: Throw away what a finished run left.
        time_shared: Whether another run may use the same GPU.
        mailbox: Gets the events.
        key: Of this attempt.
    """
    place = Path(directory)
    send = _Sender(mailbox, key)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        redirect(log_file(place, key))
        return Done(runner(config, place, on_event=send, time_shared=time_shared, rerun=rerun))
    except KeyboardInterrupt:
        return Stopped()
    except Exception as error:
        return _failure(error)
    finally:
        send.wait()


def _failure(error: Exception) -> Stopped | Failed:
    from grng.training.errors import Interrupted

    if isinstance(error, Interrupted):
        return Stopped()
    trace = traceback.format_exc()
    if is_users(error):
        with contextlib.suppress(Exception):  # one that cannot travel
            pickle.loads(pickle.dumps(error))
            return Failed(error, trace)
    return Failed(RuntimeError(repr(error)), trace)


class _Sender:
    """Sends events to the mailbox, those of steps thinned out."""

    def __init__(self, mailbox: Any, key: str) -> None:
        self._mailbox = mailbox
        self._key = key
        self._last_step = 0.0
        self._last: Any = None

    def __call__(self, event: Any) -> None:
        if type(event).__name__ == "StepDone":
            now = time.monotonic()
            if now - self._last_step < EVENT_SECONDS:
                return
            self._last_step = now
        with contextlib.suppress(Exception):  # events are only shown; the result comes by itself
            self._last = self._mailbox.put.remote(self._key, event)

    def wait(self) -> None:
        """Wait until the last event has arrived, so that none comes after the result."""
        import ray

        if self._last is not None:
            with contextlib.suppress(Exception):
                ray.get(self._last, timeout=_LAST_EVENT_SECONDS)
