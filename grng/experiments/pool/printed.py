"""What a worker prints: a file without a name, of which nothing is left once the last process that has it open ends."""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager
from multiprocessing import reduction
from types import TracebackType
from typing import Any

TAIL = 2000
"""Bytes of it, at most, that a message quotes."""


class Printed(AbstractContextManager["Printed"]):
    """Receives what a worker's libraries print; made by the parent, it goes to the worker with its job.

    With a name it would stay behind where the parent is killed.
    """

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            self._descriptor = os.dup(file.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def tail(self) -> str:
        """Return the last that was printed."""
        size = os.fstat(self._descriptor).st_size
        # Not by seeking: whoever prints shares the place in the file.
        return os.pread(self._descriptor, TAIL, max(0, size - TAIL)).decode(errors="replace").strip()

    def __getstate__(self) -> Any:
        """Return what becomes the same file in a process that is being started."""
        return reduction.DupFd(self._descriptor)

    def __setstate__(self, state: Any) -> None:
        self._descriptor = state.detach()
