"""Checkpoints: written in one piece or not at all, checked before they are read, read without running code in them."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from grng.errors import RunDirectoryError
from grng.runs.files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, explain_os_errors
from grng.seal import BrokenSealError, SealedWriter, check_seal

FORMAT = 1

_HINT = "Do the run again from the start with --rerun, or in another directory."


class DamagedCheckpoint(RunDirectoryError):
    """A checkpoint that is not as it was written."""


@dataclass(frozen=True)
class Latest:
    """The checkpoint that a run goes on from.

    Args:
        content: What was saved.
        source: Which of the two it is.
        warning: What is wrong with the last one, where this is the one before it.
    """

    content: dict[str, Any]
    source: Literal["last", "previous"]
    warning: str | None = None


def save_checkpoint(path: Path, content: dict[str, Any], *, previous: Path | None = None) -> None:
    """Write a checkpoint so that a process killed at any moment leaves the old file or the new one.

    Streamed to the file: a copy in memory would count as the run's peak. It ends with a checksum (grng.seal).

    Args:
        path: Where to.
        content: Tensors and plain types.
        previous: Where the checkpoint that is at `path` now is kept once the new one is complete; None: it is not.

    Raises:
        RunDirectoryError: If it cannot be written: disk full, not writable, …
    """
    with explain_os_errors(path):
        path.parent.mkdir(exist_ok=True)
        temporary = _temporary(path)
        try:
            with temporary.open("xb") as file:
                writer = SealedWriter(file)
                try:
                    torch.save({"format": FORMAT, **content}, writer)  # type: ignore[arg-type]  # all it needs of a file
                except RuntimeError as error:  # torch's writer hides what the file system said
                    if isinstance(error.__context__, OSError):
                        raise error.__context__ from None
                    raise
                writer.seal()
                file.flush()
                os.fsync(file.fileno())
            if previous is not None:
                _keep(path, previous)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_directory(path.parent)


def load_checkpoint(path: Path, *, run_id: str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing of it is unpickled before its checksum is found right.

    Checkpoints of versions that wrote no checksum are read, too.

    Args:
        path: The file.
        run_id: The run that it must belong to.

    Raises:
        DamagedCheckpoint: If it is.
        RunDirectoryError: If it cannot be read, is of another format, or another run's.
    """
    with explain_os_errors(path):
        try:
            with path.open("rb") as file:
                check_seal(file)
                content = torch.load(file, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except BrokenSealError as error:
            raise DamagedCheckpoint(f"the checkpoint is damaged: {error}.", where=str(path), hint=_HINT) from error
        except Exception as error:  # the reader of a damaged file may stumble over anything
            if isinstance(error, OSError) and error.errno != errno.EIO:
                raise
            raise DamagedCheckpoint("the checkpoint is damaged.", where=str(path), hint=_HINT) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise RunDirectoryError(
            f"is a checkpoint of format {found!r}, this grng reads {FORMAT}.", where=str(path), hint=_HINT
        )
    if content.get("run_id") != run_id:
        raise RunDirectoryError("is a checkpoint of another run.", where=str(path), hint=_HINT)
    return dict(content)


def load_latest(last: Path, previous: Path, *, run_id: str) -> Latest | None:
    """Return the last checkpoint, or the one before it where the last is damaged or gone; None if there is neither.

    Args:
        last: Where `save_checkpoint` wrote.
        previous: Where it kept the one before.
        run_id: The run that they must belong to.

    Raises:
        DamagedCheckpoint: If there is no other than damaged ones.
        RunDirectoryError: As `load_checkpoint`.
    """
    problem = DamagedCheckpoint("the checkpoint is missing.", where=str(last), hint=_HINT)
    with explain_os_errors(last):
        there, kept = last.exists(), previous.exists()
    if there:
        try:
            return Latest(load_checkpoint(last, run_id=run_id), "last")
        except DamagedCheckpoint as error:
            problem = error
    if not kept:
        if there:
            raise problem
        return None
    try:
        content = load_checkpoint(previous, run_id=run_id)
    except DamagedCheckpoint:
        what = problem.message.rstrip(".")
        raise DamagedCheckpoint(f"{what}, and so is {previous.name}.", where=str(last), hint=_HINT) from problem
    step = content["progress"]["step"]
    warning = f"{last}: {problem.message} Going on from {previous.name}, step {step}; later steps are done again."
    return Latest(content, "previous", warning)


def evaluated_weights(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights in a checkpoint that its run evaluated: their average where there is one."""
    weights: dict[str, Any] = content["ema"] if "ema" in content else content["model"]
    return weights


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")


def _keep(path: Path, previous: Path) -> None:
    """Put the file at `path` at `previous`, too: under both names, so that at no moment there is none at `path`."""
    link = _temporary(path)
    try:
        os.link(path, link)
        link.replace(previous)
    except FileNotFoundError:
        return
    except OSError:  # a file system without links
        path.replace(previous)
    finally:
        link.unlink(missing_ok=True)  # renaming does nothing where both names are of one file already


def _sync_directory(path: Path) -> None:
    # Without this a power cut can undo the rename; Windows cannot open directories and needs nothing.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
