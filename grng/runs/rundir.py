"""A run's directory: its layout, what state it is in, and whether a run may use it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path

from grng.errors import ConfigError, RunDirectoryError
from grng.runs.claim import claimed
from grng.runs.config import RunConfig
from grng.runs.files import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    explain_os_errors,
    is_temporary,
)
from grng.runs.identity import NOT_PART_OF_THE_ID, run_id, short_id
from grng.runs.loading import dump_yaml, load_file
from grng.runs.result import RunResult

__all__ = ["RunDirectory", "RunState", "atomic_write_bytes", "atomic_write_json", "atomic_write_text"]

_ELSEWHERE = "Choose another directory with --output."


class RunState(StrEnum):
    """What a directory holds."""

    ABSENT = "absent"
    """Nothing is there."""
    EMPTY = "empty"
    """A directory with nothing of a run or of anyone else."""
    UNFINISHED = "unfinished"
    """A run that was begun, or interrupted: to be resumed."""
    FINISHED = "finished"
    """A run with its result."""
    DIVERGED = "diverged"
    """A run with its result: it diverged."""
    FAILED = "failed"
    """A run that failed: out of memory, crash, timeout."""
    FOREIGN = "foreign"
    """Something that is no run of ours, or a file."""


class RunDirectory:
    """The directory of one run.

    Args:
        path: Where it is or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @property
    def config_file(self) -> Path:
        """The resolved config; its presence makes the directory a run's."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """One JSON object per logged step and per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def result_file(self) -> Path:
        """The result; written last."""
        return self.path / "result.json"

    @property
    def checkpoint_dir(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoint"

    @property
    def last_checkpoint(self) -> Path:
        """What a run resumes from."""
        return self.checkpoint_dir / "last.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The one before it: what a run resumes from where the last is damaged."""
        return self.checkpoint_dir / "previous.pt"

    @property
    def best_checkpoint(self) -> Path:
        """The weights of the epoch with the best validation accuracy."""
        return self.checkpoint_dir / "best.pt"

    @property
    def claim_file(self) -> Path:
        """The lock of the process that writes here."""
        return self.path / "claim.lock"

    def config(self) -> RunConfig:
        """Read the config of the run.

        Raises:
            ConfigError: If it is missing or damaged.
        """
        return load_file(self.config_file)

    def result(self) -> RunResult | None:
        """Read the result of the run; None if it has none yet.

        Raises:
            RunDirectoryError: If it is damaged or of another schema version.
        """
        return RunResult.load(self.result_file) if self.result_file.exists() else None

    def state(self) -> RunState:
        """Return what the directory holds.

        Raises:
            RunDirectoryError: If it cannot be read, or its result is damaged.
        """
        with explain_os_errors(self.path):
            if not self.path.exists() and not self.path.is_symlink():
                return RunState.ABSENT
            if not self.path.is_dir():
                return RunState.FOREIGN
            if not self._entries():
                return RunState.EMPTY
        try:
            self.config()
        except ConfigError:
            return RunState.FOREIGN
        result = self.result()
        if result is None or result.status == "interrupted":
            return RunState.UNFINISHED
        return RunState(result.status)

    def check(self, config: RunConfig) -> RunState:
        """Return the state of the directory if the run of the resolved `config` may use it; write nothing.

        Raises:
            RunDirectoryError: If it is a file, is not writable, or holds something else or another run.
        """
        with explain_os_errors(self.path):
            self._check_place()
        state = self.state()
        if state is RunState.FOREIGN:
            names = sorted(entry.name for entry in self._entries())
            shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise RunDirectoryError(f"holds something else ({shown}).", where=str(self.path), hint=_ELSEWHERE)
        if state not in (RunState.ABSENT, RunState.EMPTY):
            self._check_same_run(config)
        return state

    def prepare(self, config: RunConfig) -> RunState:
        """Check the directory, make it if need be, and write the resolved `config`; return the state found before.

        Raises:
            RunDirectoryError: As `check`, with nothing written; or if writing fails, e.g. since the disk is full.
        """
        state = self.check(config)
        if state in (RunState.ABSENT, RunState.EMPTY):
            with explain_os_errors(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
            atomic_write_text(self.config_file, dump_yaml(config))
        return state

    def claim(self) -> AbstractContextManager[None]:
        """Return a context in which no other process may claim this directory; a dead process holds no claim.

        Raises:
            DirectoryInUseError: On entering, if another process holds it; the message names process and host.
        """
        return claimed(self.claim_file)

    def _entries(self) -> list[Path]:
        """Return what is there besides locks and temporary files of ours."""
        return [entry for entry in self.path.iterdir() if entry != self.claim_file and not is_temporary(entry)]

    def _check_place(self) -> None:
        existing = next(place for place in (self.path, *self.path.absolute().parents) if os.path.lexists(place))
        if not existing.is_dir():
            if existing == self.path:
                raise RunDirectoryError("is a file, not a directory.", where=str(self.path), hint=_ELSEWHERE)
            raise RunDirectoryError(f"lies below the file {existing}.", where=str(self.path), hint=_ELSEWHERE)
        if not os.access(existing, os.W_OK | os.X_OK):
            below = "" if existing == self.path else f": {existing} is not"
            hint = "Choose another directory with --output, or change its permissions."
            raise RunDirectoryError(f"is not writable{below}.", where=str(self.path), hint=hint)

    def _check_same_run(self, config: RunConfig) -> None:
        found = self.config()
        try:
            other = run_id(found)
        except ValueError:
            other = ""
        if other != run_id(config):
            name = f" {short_id(other)}" if other else ""
            raise RunDirectoryError(
                f"holds another run{name}: {_difference(found, config)}.", where=str(self.path), hint=_ELSEWHERE
            )


def _difference(found: RunConfig, wanted: RunConfig) -> str:
    """Return the first differences between two runs, `seed 0, here 1`."""
    there, here = (_flat(config.model_dump(mode="json", exclude=set(NOT_PART_OF_THE_ID))) for config in (found, wanted))
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    shown = [f"its {key} is {there.get(key)}, this one's {here.get(key)}" for key in keys[:2]]
    return "; ".join(shown) + (f"; and {len(keys) - 2} more" if len(keys) > 2 else "")


def _flat(values: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, object] = {}
    for name, below in values.items():
        flat |= _flat(below, f"{prefix}.{name}".lstrip("."))
    return flat
