"""A file that grows by whole pieces, and can be cut back to where it was."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from grng.errors import RunDirectoryError
from grng.runs.files import explain_os_errors


class AppendedFile:
    """Appends to a file, each piece whole or not at all; unbuffered, so that an error comes from the write it is of.

    Args:
        path: The file.
        position: Bytes of it to keep; what follows is cut off. 0 starts the file anew.

    Raises:
        RunDirectoryError: If the file cannot be written, or is shorter than `position`.
    """

    def __init__(self, path: Path, *, position: int = 0) -> None:
        self._path = path
        with explain_os_errors(path):
            size = path.stat().st_size if path.exists() else 0
            if size < position:
                raise RunDirectoryError(
                    f"has {size} bytes, the checkpoint was made with {position}: lines are missing.",
                    where=str(path),
                    hint="Do the run again from the start, or in another directory.",
                )
            self._file = path.open("ab", buffering=0)
            self._file.truncate(position)
        self._position = position

    def write(self, data: bytes) -> None:
        """Append a piece.

        Raises:
            RunDirectoryError: If it cannot be written; the file is then as before.
        """
        with explain_os_errors(self._path):
            try:
                left = memoryview(data)
                while left:
                    left = left[self._file.write(left) or 0 :]
            except BaseException:
                with suppress(OSError):
                    self._file.truncate(self._position)
                raise
        self._position += len(data)

    def sync(self) -> int:
        """Force the file to the disk and return its size in bytes, for a checkpoint.

        Raises:
            RunDirectoryError: If that fails.
        """
        with explain_os_errors(self._path):
            os.fsync(self._file.fileno())
        return self._position

    def close(self) -> None:
        """Close the file.

        Raises:
            RunDirectoryError: If the file system reports an earlier error only now.
        """
        with explain_os_errors(self._path):
            self._file.close()
