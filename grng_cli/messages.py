"""From an error to its wording: what is wrong, where, what to do, what to type next. All of it is here."""

from __future__ import annotations

import errno
import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rich.text import Text

from grng.errors import ConfigError, GrngError, UnknownNameError
from grng_cli.printable import printable

DEBUG_VARIABLE = "GRNG_DEBUG"

_INDENT = len("error: ")


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

    def render(self, width: int | None = None) -> Text:
        """Return the lines of this message, the first `error: where: what is wrong`; all of it printable.

        Args:
            width: Cells of a terminal's line, that lines end between words; what is to be typed stays in one piece.
        """
        where = f"{printable(self.where, lines=False)}: " if self.where else ""
        head = Text(_folded(f"error: {where}{printable(self.text)}", width))
        head.stylize("red bold", 0, _INDENT)
        if head.plain.startswith(where, _INDENT):
            head.stylize("cyan", _INDENT, _INDENT + len(where))
        lines = [head]
        for name, value in (("hint", self.hint), ("next", self.next_command)):
            if value:
                text = f"{name + ':':>6} {printable(value)}"
                lines.append(Text(_folded(text, width) if name == "hint" else text))
                lines[-1].stylize("cyan", 0, _INDENT)
        return Text("\n").join(lines)


def _folded(text: str, width: int | None) -> str:
    if width is None or max(map(len, text.split())) > width - _INDENT:  # a long path, which a terminal breaks anyway
        return text
    fold = partial(textwrap.fill, width=width, subsequent_indent=" " * _INDENT, break_long_words=False)
    return "\n".join(fold(line, break_on_hyphens=False) if len(line) > width else line for line in text.split("\n"))


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


def of_option(text: str) -> str:
    """Return what Typer says of an option, printable and in our words."""
    return printable(_OF_OPTIONS.get(text, text))


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

_OF_OPTIONS = {
    "Input should be a valid integer, unable to parse string as an integer": "must be a whole number",
    "Input should be a valid number, unable to parse string as a number": "must be a number",
}
"""What Typer has from pydantic of an option's value, in our words."""

_LISTS = {
    "optimizer": "grng optimizers list",
    "model": "grng models list",
    "dataset": "grng datasets list",
    "data set": "grng datasets list",
    "shipped config": "grng config list",
}


def _next_command(error: GrngError) -> str | None:
    """Return the command that lists the names of the kind that was mistyped."""
    if not isinstance(error, UnknownNameError):
        return None
    return next((command for kind, command in _LISTS.items() if kind in error.message), None)
