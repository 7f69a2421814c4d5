"""Checkpoints: written in one piece or not at all, read without running code that a file brings along."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from grng.errors import RunDirectoryError
from grng.runs.files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, explain_os_errors

FORMAT = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that a process killed at any moment leaves the old file or the new one.

    Streamed to the file: a copy in memory would count as the run's peak.

    Args:
        path: Where to.
        content: Tensors and plain types.

    Raises:
        RunDirectoryError: If it cannot be written: disk full, not writable, …
    """
    with explain_os_errors(path):
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        try:
            with temporary.open("xb") as file:
                try:
                    torch.save({"format": FORMAT, **content}, file)
                except RuntimeError as error:  # torch's writer hides what the file system said
                    if isinstance(error.__context__, OSError):
                        raise error.__context__ from None
                    raise
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_directory(path.parent)


def load_checkpoint(path: Path, *, run_id: str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Args:
        path: The file.
        run_id: The run that it must belong to.

    Raises:
        RunDirectoryError: If it cannot be read, is damaged, of another format, or another run's.
    """
    hint = "Do the run again from the start, or in another directory."
    with explain_os_errors(path):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # the reader of a damaged file may stumble over anything
            raise RunDirectoryError("the checkpoint is damaged.", where=str(path), hint=hint) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise RunDirectoryError(
            f"is a checkpoint of format {found!r}, this grng reads {FORMAT}.", where=str(path), hint=hint
        )
    if content.get("run_id") != run_id:
        raise RunDirectoryError("is a checkpoint of another run.", where=str(path), hint=hint)
    return dict(content)


def evaluated_weights(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights in a checkpoint that its run evaluated: their average where there is one."""
    weights: dict[str, Any] = content["ema"] if "ema" in content else content["model"]
    return weights


def _sync_directory(path: Path) -> None:
    # Without this a power cut can undo the rename; Windows cannot open directories and needs nothing.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
