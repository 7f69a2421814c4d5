"""Turns errors into messages and exit codes, once, for every command."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from grng_cli.messages import debugging, exit_code, messages_of, of_option
from grng_cli.output import make_console


class Guarded(TyperGroup):
    """The root group: what a command raises becomes one message on stderr and an exit code, never a traceback."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Take in the options before the command."""
        try:
            return super().make_context(*arguments, **options)
        except Exception as error:
            _make_printable(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the command line names."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _say(error)
            raise typer.Exit(130) from None
        except Exception as error:
            if _is_typers_own(error):
                _make_printable(error)
                raise
            if debugging():
                raise
            _say(error)
            raise typer.Exit(exit_code(error)) from None


def _is_typers_own(error: Exception) -> bool:
    """Return whether Typer prints `error` itself: exits, and usage errors, which know how to format themselves."""
    return isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "format_message")


def _make_printable(error: Exception) -> None:
    """What was mistyped is in Typer's own messages as it was typed."""
    for name in ("message", "option_name"):
        text = getattr(error, name, None)
        if isinstance(text, str):
            setattr(error, name, of_option(text))


def _say(error: BaseException) -> None:
    console = make_console(sys.stderr)
    for message in messages_of(error):
        width = console.width if console.is_terminal else None
        console.print(message.render(width), soft_wrap=True)
