"""Ctrl-C and SIGTERM: the current step is finished and saved, then the run ends; a second signal ends it at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from grng.training.errors import Interrupted, Terminated

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def error(self, message: str, directory: Path) -> Interrupted:
        """Return what the run raises for the signal: the directory is where it goes on."""
        kind = Terminated if self.signal is signal.SIGTERM else Interrupted
        return kind(message, where=str(directory), hint="The same command goes on from there.")

    def set(self, number: int = signal.SIGINT) -> None:
        """Ask the run to stop after the current step.

        Raises:
            KeyboardInterrupt: If it was asked before: whoever asks twice does not want to wait.
        """
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a `StopRequest` while the block runs; the handlers before it are put back.

    Outside the main thread, where Python allows no handlers, nothing is changed. A signal that the process ignores
    (SIGINT of a job in the background) stays ignored.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        request.set(number)

    before: dict[signal.Signals, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                present = signal.getsignal(number)
                # None: a handler that was not installed from Python and could not be put back.
                if present is not None and present != signal.SIG_IGN:
                    before[number] = signal.signal(number, handle)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
