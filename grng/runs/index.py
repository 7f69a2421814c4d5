"""What the run directories of an experiment hold, without reading those that have not changed since they were read.

`index.jsonl` lies beside the run directories and is made from them alone: without it, or where it is damaged, they are
read. An entry counts only as long as `result.json`, `config.yaml` and `metrics.jsonl` have the size, times and inode
that they had when it was made. It is replaced in one piece; of several processes that do so the last one wins, and what
it did not know is read once more.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from grng.errors import ConfigError, RunDirectoryError
from grng.runs.chain import read_chain
from grng.runs.collection import collection_put_off
from grng.runs.identity import run_id
from grng.runs.index_file import FILE, Entry, FileState, Pool, Signature, read_entries, write_entries
from grng.runs.loading import load_file
from grng.runs.result import RunResult

LEAST = 100
"""Runs from which on an index is written: fewer are read at once."""

SETTLED_NS = 2_000_000_000
"""How long ago a file was written, at least, when it is read: another change within the file system's clock, which may
count whole seconds, would not show."""

_NAMES = ("result.json", "config.yaml", "metrics.jsonl")
_DONE = ("finished", "diverged")


class RunIndex:
    """The runs of one experiment directory. Not for several threads at once.

    Args:
        root: The experiment directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = f"{os.fspath(root)}{os.sep}"
        self._pool = Pool()
        with collection_put_off():
            self._entries: dict[str, Entry] = read_entries(root / FILE, self._pool)
        self._seen: set[str] = set()
        self._changed = False

    def result(self, directory: Path) -> RunResult | None:
        """Return the result in a run directory; None where there is none.

        Raises:
            RunDirectoryError: It is damaged or of another schema version.
        """
        entry = self._entry(directory)
        return None if entry is None else entry.result

    def done(self, directory: Path, identity: str) -> RunResult | None:
        """Return the result in a run directory if the run `identity` finished or diverged there, else None."""
        try:
            result = self.result(directory)
        except RunDirectoryError:  # the run itself says so, or is done again
            return None
        return result if result is not None and result.status in _DONE and result.run_id == identity else None

    def complete(self, directory: Path, identity: str) -> RunResult | None:
        """Return what `done` does, if `config.yaml` describes the run `identity` as well."""
        try:
            entry = self._entry(directory)
        except RunDirectoryError:
            return None
        if entry is None or entry.result.status not in _DONE or entry.result.run_id != identity:
            return None
        return entry.result if self._config_id(directory, entry) == identity else None

    def read(self, directory: Path) -> tuple[RunResult, dict[int, str]] | None:
        """Return the result in a run directory and the hashes of its batches by step; None where there is no result.

        Raises:
            RunDirectoryError: The result is damaged or of another schema version.
        """
        entry = self._entry(directory)
        return None if entry is None else (entry.result, self._chain(directory, entry))

    def config_id(self, directory: Path) -> str | None:
        """Return the id of the run that `config.yaml` describes, of a run with a readable result; None: of none."""
        entry = self._entry(directory)
        return None if entry is None else self._config_id(directory, entry)

    def _chain(self, directory: Path, entry: Entry) -> dict[int, str]:
        if entry.chain is None:
            entry.chain = self._pool.chain(read_chain(directory / _NAMES[2]))
            self._touch(entry)
        return entry.chain

    def _config_id(self, directory: Path, entry: Entry) -> str | None:
        if entry.config_id is None:
            found = _config_id(directory, entry)
            if found is None:
                return None
            entry.config_id = found
            self._touch(entry)
        return entry.config_id

    def save(self) -> None:
        """Write the index, where it has changed and there are runs enough; that it cannot be written is no error."""
        if not self._changed or len(self._entries) < LEAST:
            return
        kept = [
            (name, entry)
            for name, entry in self._entries.items()
            if entry.settled and (name in self._seen or (self._root / name / _NAMES[0]).is_file())
        ]
        self._changed = not write_entries(self._root / FILE, kept, self._pool)

    def _entry(self, directory: Path) -> Entry | None:
        """Return what is known of a directory with a readable result, reading it if need be.

        Raises:
            RunDirectoryError: The result cannot be read.
        """
        path = os.fspath(directory)
        name = path.removeprefix(self._prefix) if path.startswith(self._prefix) else os.path.relpath(path, self._root)
        # Before it is read: what is written meanwhile is then newer than the entry.
        files = signature(directory)
        entry = self._entries.get(name)
        self._seen.add(name)
        if entry is not None and entry.files == files:
            return entry
        if entry is not None:
            del self._entries[name]
            self._changed = True
        if files[0] is None:
            return None
        settled = _settled(files, time.time_ns() - SETTLED_NS)
        result = RunResult.load(directory / _NAMES[0])
        entry = Entry(files, result, self._pool.share(result), settled=settled)
        self._entries[name] = entry
        self._changed = True
        return entry

    def _touch(self, entry: Entry) -> None:
        entry.line = None
        self._changed = True


def signature(directory: Path) -> Signature:
    """Return what the files of a run directory are at present."""
    base = os.fspath(directory)
    result, config, metrics = (_state(f"{base}{os.sep}{name}") for name in _NAMES)
    return result, config, metrics


def _state(path: str) -> FileState | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - thrice for each of thousands of runs
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _settled(files: Signature, newest: int) -> bool:
    return all(state is None or max(state[1:3]) <= newest for state in files)


def _config_id(directory: Path, entry: Entry) -> str | None:
    result, config, _ = entry.files
    if result is None or config is None:
        return None
    # A run writes its config first and its result last: a config that is no newer is that of the result.
    if config[1] <= result[1] and config[2] <= result[2]:
        return entry.result.run_id
    try:
        return run_id(load_file(directory / _NAMES[1]))
    except (ConfigError, ValueError):
        return None
