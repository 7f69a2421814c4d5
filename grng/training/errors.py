"""How a run can end without a result of training: stopped by a signal, or failed."""

from __future__ import annotations

from pathlib import Path

from grng.errors import GrngError


class Interrupted(GrngError):
    """The run was told to stop by Ctrl-C; what is there is saved, and the same call goes on from there.

    `where` is the run directory.
    """

    exit_code = 130

    @property
    def directory(self) -> Path:
        """The run directory to resume."""
        return Path(self.where or ".")


class Terminated(Interrupted):
    """The same by SIGTERM."""

    exit_code = 143


class RunFailed(GrngError):
    """The run crashed or ran out of memory; result.json in the directory `where` says so. The cause is chained."""

    exit_code = 1

    @property
    def directory(self) -> Path:
        """The run directory."""
        return Path(self.where or ".")


class ProcessLost(RunFailed):
    """Another process of the run ended without a word; `where` is the run directory."""
