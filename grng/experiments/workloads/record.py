"""`workloads.yaml`: which directories beside it are the workloads of one comparison, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from grng._version import __version__
from grng.errors import RunDirectoryError
from grng.report.reading import EXPERIMENT, WORKLOADS
from grng.runs.files import atomic_write_text, explain_os_errors

_HINT = "Choose another directory with --output."


class WorkloadsRecord(BaseModel):
    """The content of `workloads.yaml`."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    workloads: list[str]
    """Names, in order; each is that of a directory, as `grng.runs.identity.directory_name` writes it."""
    optimizers: list[str]
    """Labels of the rows, in order."""
    seeds: list[int]
    reference: str
    grng: str = __version__

    def save(self, directory: Path) -> None:
        """Write it into `directory`, which is made.

        Raises:
            RunDirectoryError: The directory cannot be written to.
        """
        with explain_os_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        path = directory / WORKLOADS
        with explain_os_errors(path):
            if path.exists() and path.read_bytes() == text.encode("utf-8"):
                return
        atomic_write_text(path, text)


def check_root(directory: Path) -> None:
    """Refuse a directory in which several workloads cannot be; nothing is written.

    Raises:
        RunDirectoryError: It is a file, or holds something else.
    """
    if not directory.exists() or (directory / WORKLOADS).is_file():
        return
    if not directory.is_dir():
        raise RunDirectoryError("is a file, not a directory.", where=str(directory), hint=_HINT)
    if (directory / EXPERIMENT).exists():
        text = "holds a comparison of one workload, and this one has several."
        raise RunDirectoryError(text, where=str(directory), hint=_HINT)
    strangers = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
    if strangers:
        raise RunDirectoryError(
            f"holds something else than workloads ({_shortened(strangers)}).", where=str(directory), hint=_HINT
        )


def check_no_root(directory: Path) -> None:
    """Refuse a directory of several workloads for a comparison of one.

    Raises:
        RunDirectoryError: It is one.
    """
    if (directory / WORKLOADS).is_file():
        text = "holds a comparison of several workloads, and this one has one."
        raise RunDirectoryError(text, where=str(directory), hint=_HINT)


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
