"""The text of `index.jsonl`: one line a run directory, whatever cannot be read left out.

The first line says the version. What the results of an experiment have in common and is long, how every layer is
preconditioned, stands on a line of its own, once for all runs that have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from grng.errors import RunDirectoryError
from grng.runs.files import atomic_write_bytes
from grng.runs.result import RunResult

FILE = "index.jsonl"

Coverage = list[dict[str, JsonValue]]
FileState = tuple[int, int, int, int]
"""Size, time of the last change of the content and of anything, in ns, and inode."""
Signature = tuple[FileState | None, FileState | None, FileState | None]
"""Of `result.json`, `config.yaml` and `metrics.jsonl`; None: there is no such file."""

_COVERAGE: TypeAdapter[Coverage] = TypeAdapter(Coverage)


class _Head(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1


class _Shared(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str
    coverage: Coverage


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str
    files: Signature
    config_id: str | None
    chain: dict[int, str] | None
    coverage: str | None
    result: RunResult


@dataclass(slots=True)
class Entry:
    """What is known of one run directory with a result.

    Attributes:
        files: What the files were when they were read.
        result: The result; its coverage is shared with other entries.
        coverage: Hash of the coverage.
        config_id: Id of the run that `config.yaml` describes; None: not known yet.
        chain: Hashes of the batches; None: not read yet.
        settled: Whether no change of the files can have been missed, so that the entry may be kept.
        line: The line of the file that says so; None: it is to be written anew.
    """

    files: Signature
    result: RunResult
    coverage: str | None
    config_id: str | None = None
    chain: dict[int, str] | None = None
    settled: bool = True
    line: bytes | None = None


class Pool:
    """Keeps one copy of what many results have in common."""

    def __init__(self) -> None:
        self.coverages: dict[str, Coverage] = {}
        self._texts: dict[str, str] = {}

    def share(self, result: RunResult) -> str | None:
        """Give `result` the coverage that another one has too, and return its hash."""
        if result.coverage is None:
            return None
        sha256 = hashlib.sha256(_COVERAGE.dump_json(result.coverage)).hexdigest()
        result.coverage = self.coverages.setdefault(sha256, result.coverage)
        return sha256

    def chain(self, chain: dict[int, str]) -> dict[int, str]:
        """Return `chain` with hashes that others have too: paired runs have the same."""
        return {step: self._texts.setdefault(digest, digest) for step, digest in chain.items()}


def read_entries(path: Path, pool: Pool) -> dict[str, Entry]:
    """Return the entries of an index by the path of their run directory; none where it is missing or of no use.

    Args:
        path: The file.
        pool: Receives what entries share.
    """
    entries: dict[str, Entry] = {}
    try:
        lines = path.read_bytes().split(b"\n")
        _Head.model_validate_json(lines[0])
    except (OSError, ValidationError):
        return entries
    for line in lines[1:]:
        try:
            if line.startswith(b'{"sha256"'):
                shared = _Shared.model_validate_json(line)
                pool.coverages[shared.sha256] = shared.coverage
            elif line:
                read = _Line.model_validate_json(line)
                if read.coverage is not None:
                    read.result.coverage = pool.coverages[read.coverage]
                chain = None if read.chain is None else pool.chain(read.chain)
                entries[read.path] = Entry(read.files, read.result, read.coverage, read.config_id, chain, line=line)
        except (ValidationError, KeyError):  # torn, or what it refers to was: the run is read again
            continue
    return entries


def write_entries(path: Path, entries: Iterable[tuple[str, Entry]], pool: Pool) -> bool:
    """Write an index in one piece; return whether that was possible, since nothing depends on it."""
    entries = list(entries)
    lines = [_Head().model_dump_json().encode()]
    for sha256 in dict.fromkeys(entry.coverage for _, entry in entries if entry.coverage is not None):
        lines.append(_Shared(sha256=sha256, coverage=pool.coverages[sha256]).model_dump_json().encode())
    for name, entry in entries:
        if entry.line is None:
            entry.line = _line(name, entry)
        lines.append(entry.line)
    try:
        atomic_write_bytes(path, b"\n".join([*lines, b""]))
    except RunDirectoryError:
        return False
    return True


def _line(name: str, entry: Entry) -> bytes:
    values: dict[str, Any] = {"path": name, "files": entry.files, "config_id": entry.config_id, "chain": entry.chain}
    bare = entry.result.model_copy(update={"coverage": None})
    return _Line.model_construct(**values, coverage=entry.coverage, result=bare).model_dump_json().encode()
