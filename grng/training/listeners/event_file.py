"""TensorBoard's event file, written at once.

torch's SummaryWriter writes in a thread: an error of the disk shows up at some later call and as a traceback of the
thread, and where the file ends cannot be known. It names its file by the clock, and readers take the files in the order
of their names: a clock that is set back would put a resumed run before what it goes on from. The records, the messages
in them and their order are those of TensorBoard.
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from grng.runs.appending import AppendedFile
from grng.runs.files import explain_os_errors

EVENT_FILES = "events.out.tfevents.*"
_OURS = f"{EVENT_FILES}.grng"
EVENT_VERSION = "brain.Event:2"


class EventFile:
    """Appends events to a new file in a run directory.

    Args:
        directory: The run directory.
        purge_step: The first step that this process will do; TensorBoard drops what it has read of this and later
            steps. None for a fresh run.

    Raises:
        RunDirectoryError: If the file cannot be written.
    """

    def __init__(self, directory: Path, *, purge_step: int | None = None) -> None:
        with explain_os_errors(directory):
            path = directory / next_name(directory)
            self._file = AppendedFile(path)
        # Relative to a clock that nobody sets, so that a change of the time of day does not show within a run.
        self._clock = time.time() - time.monotonic()
        self._pending = io.BytesIO()
        self._records = RecordWriter(self._pending)
        self._add(event_pb2.Event(file_version=EVENT_VERSION))
        if purge_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(event_pb2.Event(step=purge_step, session_log=start))
        self.flush()

    def add(self, summary: Any, step: int | None = None) -> None:
        """Take in a `Summary`, to be written by `flush`."""
        self._add(event_pb2.Event(summary=summary, step=step))

    def flush(self) -> None:
        """Write what was taken in, all of it or nothing.

        Raises:
            RunDirectoryError: If it cannot be written.
        """
        data = self._pending.getvalue()
        self._pending.seek(0)
        self._pending.truncate()
        if data:
            self._file.write(data)

    def sync(self) -> None:
        """Force what was written to the disk.

        Raises:
            RunDirectoryError: If that fails.
        """
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, event: Any) -> None:
        event.wall_time = self._clock + time.monotonic()
        self._records.write(event.SerializeToString())


def sizes(directory: Path) -> dict[str, int]:
    """Return the bytes of each event file of ours, for a checkpoint.

    Raises:
        RunDirectoryError: If the directory cannot be read.
    """
    with explain_os_errors(directory):
        return {path.name: path.stat().st_size for path in sorted(directory.glob(_OURS))}


def cut_back(directory: Path, kept: Mapping[str, int]) -> None:
    """Take away what was written after a checkpoint.

    Args:
        directory: The run directory.
        kept: What `sizes` returned then. A file that somebody has removed since is not missed.

    Raises:
        RunDirectoryError: If that cannot be done.
    """
    with explain_os_errors(directory):
        for path in directory.glob(_OURS):
            if path.name not in kept:
                path.unlink()
            elif path.stat().st_size > kept[path.name]:
                os.truncate(path, kept[path.name])


def next_name(directory: Path) -> str:
    """Return a name for an event file that sorts after those of all event files that are in `directory`."""
    numbers = [path.name.split(".")[3] for path in directory.glob(EVENT_FILES)]
    last = max((int(number) for number in numbers if number.isdecimal()), default=-1)
    return f"events.out.tfevents.{max(int(time.time()), last + 1):010d}.{socket.gethostname()}.{os.getpid()}.grng"
