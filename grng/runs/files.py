"""Files that are there in one piece or not at all, and file system errors said so that the user can mend them."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from grng.errors import RunDirectoryError

TEMPORARY_PREFIX = ".grng-"
TEMPORARY_SUFFIX = ".tmp"

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a machine that stops at any moment, sees the old file or the new one.

    Raises:
        RunDirectoryError: If it cannot be written: disk full, not writable, …
    """
    with explain_os_errors(path):
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=TEMPORARY_SUFFIX, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes private files; results are meant to be read like any other file of the user.
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        _sync_directory(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8; see `atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; see `atomic_write_bytes`.

    Raises:
        ValueError: If a number in `value` is not finite.
    """
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def is_temporary(path: Path) -> bool:
    """Return whether `path` is what `atomic_write_bytes` leaves behind when its process is killed."""
    return path.name.startswith(TEMPORARY_PREFIX) and path.name.endswith(TEMPORARY_SUFFIX)


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` about `path` into a `RunDirectoryError` with what to do."""
    try:
        yield
    except OSError as error:
        message, hint = _explanation(error)
        raise RunDirectoryError(message, where=str(path), hint=hint) from error


def _explanation(error: OSError) -> tuple[str, str | None]:
    if error.errno in _FULL:
        return "no space left on the disk.", "Free some space, then give the same command again: it resumes."
    if error.errno == errno.EFBIG:
        hint = "See `ulimit -f` and the file system's own limit, then give the same command again: it resumes."
        return "files may not become as large as that here.", hint
    if error.errno in _FORBIDDEN:
        return "is not writable.", "Choose another directory with --output, or change its permissions."
    if error.errno == errno.ENOENT:
        return "does not exist.", None
    if error.errno == errno.ENOTDIR:
        return "lies below something that is not a directory.", "Choose another directory with --output."
    if error.errno == errno.ENAMETOOLONG:
        return "the name is too long for the file system.", "Choose a shorter --output."
    return f"cannot be used: {error.strerror or error}.", None


def _umask() -> int:
    # The umask can only be read by setting it; Linux also shows it in /proc, which is safe with threads.
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync_directory(path: Path) -> None:
    # Without this a power cut can undo the rename. Some systems (Windows) cannot open directories: nothing to do there.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
