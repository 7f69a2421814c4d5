"""What is said of an error that ended a run."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import torch

from grng.runs.config import RunConfig
from grng.runs.exhausted import memory_hint
from grng.runs.result import Reason

_MESSAGE_LENGTH = 500
# How torch's allocators, its CUDA libraries and C++ say it in a plain RuntimeError.
_NO_MEMORY = ("can't allocate memory", "out of memory", "_STATUS_ALLOC_FAILED", "std::bad_alloc")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed: the reason, one line for people, and what to do."""

    reason: Reason
    message: str
    hint: str | None

    @property
    def stored(self) -> str:
        """What `result.json` says."""
        return self.message if self.hint is None else f"{self.message} {self.hint}"


def failure(config: RunConfig, error: BaseException) -> Failure:
    """Return what there is to say of an error that ended the run of a resolved config."""
    message = one_line(error)
    if failure_reason(error) == "crash":
        return Failure("crash", message, None)
    return Failure("oom", f"memory ran out: {message.rstrip('.')}.", memory_hint(config))


def failure_reason(error: BaseException) -> Reason:
    """Return `oom` if memory ran out, on the device or the host, else `crash`."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "oom"
    if isinstance(error, OSError):
        return "oom" if error.errno == errno.ENOMEM else "crash"
    return "oom" if any(sign in str(error) for sign in _NO_MEMORY) else "crash"


def one_line(error: BaseException) -> str:
    """Return an error as one line of at most 500 characters: its kind and the first line of its text."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= _MESSAGE_LENGTH else text[: _MESSAGE_LENGTH - 1] + "…"
