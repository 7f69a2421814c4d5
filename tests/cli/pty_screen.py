"""The real command in a real terminal of 80×24, and what a person sees there."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

import pyte

ROWS, COLUMNS = 24, 80


@dataclass
class Seen:
    """What a command wrote to its terminal: every byte, the screen when it ended with what has scrolled off, the code."""

    code: int
    raw: bytes
    lines: list[str]

    @property
    def text(self) -> str:
        """The lines, joined."""
        return "\n".join(self.lines)


def in_terminal(
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    rows: int = ROWS,
    columns: int = COLUMNS,
    seconds: float = 200.0,
    watch: Callable[[list[str]], None] | None = None,
) -> Seen:
    """Run `grng` with these arguments in a pseudo-terminal until it ends.

    Args:
        arguments: After `grng`.
        environment: Beside a bare one.
        directory: The present one of the command.
        rows: Of the terminal.
        columns: Of the terminal.
        seconds: After which it is killed, and the test fails.
        watch: Called with the lines of the screen each time that something was written.
    """
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME", "TMPDIR")}
    variables = {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", **(environment or {})}
    command = [sys.executable, "-m", "grng_cli", *map(str, arguments)]
    running = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=variables, cwd=directory, start_new_session=True
    )
    os.close(slave)
    screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)
    stream = pyte.ByteStream(screen)
    raw, end = b"", time.monotonic() + seconds
    try:
        while True:
            if time.monotonic() > end:
                running.kill()
                raise AssertionError(f"it did not end within {seconds} s; the screen: {screen.display}")
            if not select.select([master], [], [], 0.1)[0]:
                if running.poll() is not None:
                    break
                continue
            try:
                data = os.read(master, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not data:
                break
            raw += data
            stream.feed(data)
            if watch is not None:
                watch([line.rstrip() for line in screen.display])
    finally:
        os.close(master)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=10)
    gone = ["".join(row[column].data for column in range(columns)).rstrip() for row in screen.history.top]
    lines = [*gone, *(line.rstrip() for line in screen.display)]
    while lines and not lines[-1]:
        lines.pop()
    return Seen(running.wait(), raw, lines)
