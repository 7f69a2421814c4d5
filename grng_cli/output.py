"""The only printer: data on stdout, chatter and progress on stderr.

With `--json` exactly one JSON document goes to stdout and nothing else does; with `--quiet` only the essential lines
are printed. Piped, or with NO_COLOR set, no escape code is written.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.text import Text

PIPED_WIDTH = 1000
"""Columns of a table that goes to a file or a pipe: nobody's window limits it there."""


def make_console(stream: IO[str]) -> Console:
    """Return a console on `stream` that is plain when piped or when NO_COLOR is set."""
    interactive = stream.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or not interactive
    return Console(
        file=stream,
        color_system=None if plain else "auto",
        force_terminal=interactive,
        width=None if interactive or os.environ.get("COLUMNS") else PIPED_WIDTH,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )


class Output:
    """Where a command says things; made once per command from its `--json` and `--quiet`."""

    def __init__(self, *, json_only: bool = False, quiet: bool = False) -> None:
        self.json_only = json_only
        self.quiet = quiet
        self.stdout = make_console(sys.stdout)
        self.stderr = make_console(sys.stderr)

    @property
    def live(self) -> bool:
        """Whether a moving progress display makes sense."""
        return not self.quiet and self.stderr.is_terminal

    def essential(self, renderable: RenderableType) -> None:
        """Print a result on stdout, also with `--quiet`; `--json` replaces it by its document."""
        if not self.json_only:
            self._print(self.stdout, renderable)

    def data(self, renderable: RenderableType = "") -> None:
        """Print what surrounds a result on stdout; `--quiet` and `--json` leave it out."""
        if not self.quiet:
            self.essential(renderable)

    def chatter(self, renderable: RenderableType) -> None:
        """Print on stderr what helps a person who watches; `--quiet` leaves it out."""
        if not self.quiet:
            self._print(self.stderr, renderable)

    def warning(self, text: str) -> None:
        """Print a line on stderr that must not be lost, also with `--quiet`."""
        line = Text("warning: ", style="yellow bold")
        line.append(text, style="not bold default")
        self._print(self.stderr, line)

    def document(self, value: Any) -> None:
        """Print `value` as the one JSON document of `--json`."""
        import json  # here, since --help needs none of it

        # Written past rich, which would wrap long strings. NaN is no JSON: a caller that lets one through has a fault.
        self.stdout.file.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        self.stdout.file.flush()

    def _print(self, console: Console, renderable: RenderableType) -> None:
        # Paths and messages may hold [brackets]: strings are text, never markup; the terminal wraps lines.
        if isinstance(renderable, str):
            renderable = Text(renderable)
        soft = isinstance(renderable, Text)
        console.print(renderable, soft_wrap=soft, markup=False)
