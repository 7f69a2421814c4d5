"""Which code of grng a run is of: a version stays the same while a checkout is worked on, its source files do not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

_NOT_OF_A_RUN = frozenset({"experiments", "report", "statistics"})
"""Folders of what plans runs and tells of them: no number of a run comes from there."""

_DIGITS = 16


def hash_of_sources(package: Path) -> str | None:
    """Return a hash of the source files in `package` that a run's numbers come from; None where they cannot be read.

    The first 16 hexadecimal digits of a SHA-256 over names and contents; line ends of another system change nothing.
    """
    digest = hashlib.sha256()
    try:
        found = {path.relative_to(package): path.read_bytes() for path in package.rglob("*.py")}
    except OSError:
        return None
    for name, content in sorted(found.items()):
        if name.parts[0] not in _NOT_OF_A_RUN:
            content = content.replace(b"\r\n", b"\n")
            digest.update(f"{name.as_posix()}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()[:_DIGITS] if found else None


OWN_CODE: Final = hash_of_sources(Path(__file__).parents[1])
"""Of this grng, read when this process, or the fork server that it comes from, loads what trains, as Python does."""
