"""From an error to its wording: what is wrong, where, what to do, what to type next. All of it is here."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text

from grng.errors import ConfigError, GrngError, UnknownNameError
from grng_cli.printable import printable

DEBUG_VARIABLE = "GRNG_DEBUG"


@dataclass(frozen=True)
class Message:
    """One problem as the terminal shows it.

    Args:
        text: What is wrong.
        where: File, line and key, flag or path.
        hint: What to do, or which names are near.
        next_command: What to type next.
    """

    text: str
    where: str | None = None
    hint: str | None = None
    next_command: str | None = None

    def render(self) -> Text:
        """Return the lines of this message, the first `error: where: what is wrong`; all of it printable."""
        lines = Text("error: ", style="red bold")
        if self.where:
            lines.append(f"{printable(self.where, lines=False)}: ", style="not bold cyan")
        lines.append(printable(self.text), style="not bold default")
        for name, value in (("hint", self.hint), ("next", self.next_command)):
            if value:
                lines.append(f"\n{name + ':':>6} ", style="cyan not bold")
                lines.append(printable(value), style="not bold default")
        return lines


def exit_code(error: BaseException) -> int:
    """Return the exit code that `error` ends a command with."""
    if isinstance(error, GrngError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, OSError) and error.errno in _OS_MESSAGES:
        return 2
    return 1


def messages_of(error: BaseException) -> list[Message]:
    """Return what to say about `error`: one message per problem."""
    if isinstance(error, ConfigError):
        return [message for problem in error.problems for message in messages_of(problem)]
    if isinstance(error, GrngError):
        return [Message(error.message, error.where, error.hint, _next_command(error))]
    if isinstance(error, KeyboardInterrupt):
        return [Message("interrupted")]
    if isinstance(error, OSError) and error.errno in _OS_MESSAGES:
        return [_OS_MESSAGES[error.errno](error)]
    return [unexpected(error)]


def debugging() -> bool:
    """Return whether the user asked for tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def unexpected(error: BaseException) -> Message:
    """Return the message for an error that is grng's own fault."""
    text = f"unexpected {type(error).__name__}: {error}" if str(error) else f"unexpected {type(error).__name__}"
    return Message(text, hint=f"This is a fault of grng; set {DEBUG_VARIABLE}=1 and run the same line to see where.")


def _full(error: OSError) -> Message:
    return Message("no space left on the device", error.filename, "Free some space or choose another --output.")


def _forbidden(error: OSError) -> Message:
    return Message("permission denied", error.filename, "Choose another --output or change the permissions.")


_OS_MESSAGES: dict[int | None, Callable[[OSError], Message]] = {
    errno.ENOSPC: _full,
    errno.EDQUOT: _full,
    errno.EACCES: _forbidden,
    errno.EPERM: _forbidden,
    errno.EROFS: _forbidden,
}

_LISTS = {
    "optimizer": "grng optimizers list",
    "model": "grng models list",
    "dataset": "grng datasets list",
    "data set": "grng datasets list",
}


def _next_command(error: GrngError) -> str | None:
    """Return the command that lists the names of the kind that was mistyped."""
    if not isinstance(error, UnknownNameError):
        return None
    return next((command for kind, command in _LISTS.items() if kind in error.message), None)
