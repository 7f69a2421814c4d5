"""Who writes in a run directory: one process at a time, and a dead one not for ever."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from grng.errors import DirectoryInUseError
from grng.runs.files import explain_os_errors


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the lock file `path` while the block runs.

    The operating system releases the lock when the process ends, however it ends; what is written in the file only
    tells others whom to look for.

    Raises:
        DirectoryInUseError: If another process, or another part of this one, holds it; with the holder's id and host.
    """
    lock = FileLock(path, timeout=0, thread_local=False)
    with explain_os_errors(path):
        try:
            lock.acquire()
        except Timeout:
            raise DirectoryInUseError(
                f"another run is writing here: {_holder(path)}.",
                where=str(path.parent),
                hint="Wait for it, or choose another directory with --output.",
            ) from None
    try:
        with explain_os_errors(path):
            path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    # The holder may be about to write its name, or sit on a system that lets nobody read a locked file.
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    return "a process that left no name"
