"""A checksum in a torch file: in the comment that a zip archive may end with, where every reader passes over it.

torch's reader does not check the CRC of what it loads, so a bit that flipped on a disk would become a wrong weight, or
reach the unpickler. The seal is the SHA-256 of everything before it, computed while the file is written; a file is
checked before anything in it is looked at. It says that the file is whole, not who wrote it.
"""

from __future__ import annotations

import hashlib
import struct
from typing import BinaryIO

MARK = b"grng sha256 "
_COMMENT_BYTES = len(MARK) + 2 * hashlib.sha256().digest_size
_END = b"PK\x05\x06"  # of the record that a zip archive ends with; its last two bytes are the comment's length
_END_BYTES = 22
_LENGTH_BYTES = 2
_CHUNK = 1 << 20


class BrokenSealError(ValueError):
    """The file is not what was written."""


class SealedWriter:
    """Passes on what `torch.save` writes and ends it with the seal.

    The archive's last two bytes, the length of a comment that it does not have, are held back: `seal` writes them anew.

    Args:
        file: Open for writing in binary mode.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._held = b""

    def write(self, data: bytes) -> int:
        """Write bytes."""
        count = len(data)
        if count < _LENGTH_BYTES:
            data, self._held = self._held + data, b""
        cut = max(0, len(data) - _LENGTH_BYTES)
        for piece in (self._held, memoryview(data)[:cut]):
            self._digest.update(piece)
            self._file.write(piece)
        self._held = bytes(data[cut:])
        return count

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def seal(self) -> None:
        """End the archive.

        Raises:
            ValueError: If what was written is no archive without a comment.
        """
        if self._held != bytes(_LENGTH_BYTES):
            raise ValueError("only a zip archive without a comment can be sealed")
        self._file.write(struct.pack("<H", _COMMENT_BYTES) + MARK + self._digest.hexdigest().encode("ascii"))


def was_sealed(file: BinaryIO) -> bool:
    """Whether a file has a seal, whole or not, or what is left of one: torch itself never writes an archive's comment.

    For files of any origin, which `check_seal` would call broken where they are no archives. One that was cut off
    before its end has no trace of a seal, and is no archive that could be read.

    Args:
        file: Open for reading in binary mode; left at its beginning.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES - _COMMENT_BYTES))
    end = file.read()
    file.seek(0)
    place = end.rfind(_END)
    length = end[place + _END_BYTES - _LENGTH_BYTES : place + _END_BYTES] if place >= 0 else b""
    return MARK in end or length == struct.pack("<H", _COMMENT_BYTES)


def check_seal(file: BinaryIO) -> bool:
    """Return True if the file is as it was sealed, False if it is an archive that never had a seal.

    Args:
        file: Open for reading in binary mode; left at its beginning.

    Raises:
        BrokenSealError: If neither holds: cut off, or changed.
    """
    size = file.seek(0, 2)
    tail = _LENGTH_BYTES + _COMMENT_BYTES
    file.seek(max(0, size - tail))
    end = file.read(tail)
    length, comment = end[:_LENGTH_BYTES], end[_LENGTH_BYTES:]
    if length != struct.pack("<H", _COMMENT_BYTES) or not comment.startswith(MARK):
        file.seek(max(0, size - _END_BYTES))
        record = file.read(_END_BYTES)
        file.seek(0)
        if record.startswith(_END) and record.endswith(bytes(_LENGTH_BYTES)):
            return False
        raise BrokenSealError("the file does not end as it should")
    file.seek(0)
    digest = hashlib.sha256()
    left = size - tail
    while left:
        chunk = file.read(min(_CHUNK, left))
        if not chunk:
            raise BrokenSealError("the file became shorter")
        digest.update(chunk)
        left -= len(chunk)
    file.seek(0)
    if comment[len(MARK) :] != digest.hexdigest().encode("ascii"):
        raise BrokenSealError("the checksum does not fit")
    return True
