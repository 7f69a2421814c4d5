"""How long a run may take: its process is told to save itself when the time is over, and killed when it does not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

GRACE_SECONDS = 30.0
"""How long a run whose time is over may take to save itself."""


class Deadline(AbstractContextManager["Deadline"]):
    """Runs while the block does.

    Args:
        seconds: Until the process is told to stop; None: never.
        send: Sends a signal to the process, or does nothing where it has ended; called from other threads.

    Attributes:
        passed: Whether the time was over before the block was.
    """

    def __init__(self, seconds: float | None, send: Callable[[signal.Signals], None]) -> None:
        self.passed = False
        self._send = send
        self._timers = [threading.Timer(max(0.0, seconds), self._stop)] if seconds is not None else []

    def __enter__(self) -> Self:
        for timer in self._timers:
            timer.daemon = True
            timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()

    def _stop(self) -> None:
        self.passed = True
        last = threading.Timer(GRACE_SECONDS, self._send, [signal.SIGKILL])
        last.daemon = True
        self._timers.append(last)
        self._send(signal.SIGTERM)
        last.start()
