"""SIGTERM treated like Ctrl-C, but for its exit code."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


def how_stopped(error: BaseException) -> tuple[str, int]:
    """Return in a word how a command was stopped, and its exit code.

    Args:
        error: A KeyboardInterrupt, `Terminated` or not, or a run's own `Interrupted`.
    """
    terminated = isinstance(error, Terminated) or getattr(error, "exit_code", 130) == 143
    return ("terminated", 143) if terminated else ("interrupted", 130)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Raise `Terminated` in the main thread when SIGTERM comes while the block runs."""
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
