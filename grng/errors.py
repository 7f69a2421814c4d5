"""Problems that a user can cause, said so that the user can mend them.

Every such problem is a `GrngError`: what is wrong, where (file and line, flag, path), and what to do. The command line
prints it as one message and exits with `exit_code`; a library user gets the same text from `str(error)`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GrngError(Exception):
    """A problem of the user's making, or of the machine's, that deserves a message and not a traceback.

    Args:
        message: What is wrong, one sentence.
        where: Where: `file.yaml:3 (optimizer.rho)`, `--opt rho`, or a path.
        hint: What to do, or which names are near.
    """

    exit_code = 2

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if not self.hint:
            return text
        return f"{text} {self.hint}" if text.endswith((".", "!", "?", ":")) else f"{text}. {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own reduce calls the class with args only; where and hint would be lost between processes.
        return (_rebuild, (type(self), self.message, self.where, self.hint))


def _rebuild(kind: type[GrngError], message: str, where: str | None, hint: str | None) -> GrngError:
    return kind(message, where=where, hint=hint)


class HyperparameterError(GrngError, ValueError):
    """An unknown, ill-typed, out-of-range or ineffective hyperparameter; `where` is its name."""


class UnknownNameError(GrngError, LookupError):
    """A name that no registry knows; the hint holds the nearest ones."""


class ConfigError(GrngError):
    """One or several problems of one configuration; `problems` holds them one by one."""

    def __init__(self, problems: Sequence[GrngError]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        return (ConfigError, (self.problems,))


class RunDirectoryError(GrngError):
    """An output directory that cannot be used: not ours, a file, not writable, full, or in use by another process."""


class DirectoryInUseError(RunDirectoryError):
    """Another process is writing there now; it may be done later."""


def nearest(name: str, candidates: Iterable[str], *, count: int = 3) -> list[str]:
    """Return at most `count` candidates that look like `name`, the nearest first."""
    by_fold = {candidate.casefold(): candidate for candidate in candidates}
    return [by_fold[match] for match in difflib.get_close_matches(name.casefold(), by_fold, n=count, cutoff=0.6)]


def suggest(name: str, candidates: Iterable[str], *, otherwise: str | None = None) -> str | None:
    """Return "Did you mean 'a' or 'b'?" for the candidates near `name`, else `otherwise`."""
    near = nearest(name, candidates)
    if not near:
        return otherwise
    return f"Did you mean {' or '.join(repr(candidate) for candidate in near)}?"
