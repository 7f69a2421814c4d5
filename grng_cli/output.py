"""The only printer: data on stdout, chatter and progress on stderr.

With `--json` exactly one JSON document goes to stdout and nothing else does; with `--quiet` only the essential lines
are printed. Piped, or with NO_COLOR set, no escape code is written.
"""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.text import Text

from grng_cli.printable import printable

PIPED_WIDTH = 1000
"""Columns of what goes to a file or a pipe: nobody's window limits it there."""

WIDE_TABLE_WIDTH = 120
"""Columns of a table there that would otherwise have lines of hundreds: an editor shows these whole."""


def is_plain() -> bool:
    """Return whether control characters have no place here: in the logs of CI, and on dumb terminals.

    A CI service says so by `CI` in the environment; some of them have the terminal of a person otherwise.
    """
    in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return in_ci or os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def make_console(stream: IO[str]) -> Console:
    """Return a console on `stream` that is plain when piped, in CI, on a dumb terminal, or with NO_COLOR set."""
    interactive = stream.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or not interactive or is_plain()
    return Console(
        file=stream,
        color_system=None if plain else "auto",
        force_terminal=interactive,
        width=None if interactive or os.environ.get("COLUMNS") else PIPED_WIDTH,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )


def plain_streams() -> None:
    """Have Typer's own screens keep to what `make_console` keeps to, and no character end a command.

    Typer colours them wherever GitHub's CI runs, and a letter that an encoding such as ASCII lacks would be an error.
    """
    if is_plain() or not sys.stdout.isatty():
        os.environ.setdefault("_TYPER_FORCE_DISABLE_TERMINAL", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")


class Output:
    """Where a command says things; made once per command from its `--json`, `--quiet` and `--no-progress`."""

    def __init__(self, *, json_only: bool = False, quiet: bool = False, progress: bool = True) -> None:
        self.json_only = json_only
        self.quiet = quiet
        self.progress = progress
        self.stdout = make_console(sys.stdout)
        self.stderr = make_console(sys.stderr)

    @property
    def live(self) -> bool:
        """Whether a moving progress display makes sense: it takes escape codes, which NO_COLOR forbids as well."""
        plain = is_plain() or bool(os.environ.get("NO_COLOR"))
        return self.progress and self.stderr.is_terminal and not (self.quiet or self.json_only or plain)

    def busy(self, what: str) -> AbstractContextManager[object]:
        """Show on a terminal, while a block without a progress display runs, what takes so long."""
        return self.stderr.status(what) if self.live else nullcontext()

    @property
    def table_width(self) -> int:
        """Columns that a wide table on stdout may take."""
        return self.stdout.width if self.stdout.width < PIPED_WIDTH else WIDE_TABLE_WIDTH

    def essential(self, renderable: RenderableType) -> None:
        """Print a result on stdout, also with `--quiet`; `--json` replaces it by its document."""
        if not self.json_only:
            self._print(self.stdout, renderable)

    def data(self, renderable: RenderableType = "") -> None:
        """Print what surrounds a result on stdout; `--quiet` and `--json` leave it out."""
        if not self.quiet:
            self.essential(renderable)

    def sentence(self, text: str) -> None:
        """Print a sentence as `essential` does; a terminal's lines end between words, a pipe gets it in one line."""
        self.essential(_wrapped(text, self.stdout))

    def prose(self, text: str) -> None:
        """Print a sentence as `data` does, its lines as those of `sentence`."""
        if not self.quiet:
            self.sentence(text)

    def table(self, table: RenderableType) -> None:
        """Print a table of words as `essential` does, no wider than `table_width`."""
        if not self.json_only:
            self._print(self.stdout, table, width=self.table_width)

    def chatter(self, renderable: RenderableType) -> None:
        """Print on stderr what helps a person who watches; `--quiet` leaves it out."""
        if not self.quiet:
            text = _wrapped(printable(renderable), self.stderr) if isinstance(renderable, str) else renderable
            self._print(self.stderr, text)

    def drawing(self, make: Callable[[Console], RenderableType | None]) -> None:
        """Print what `make` draws for a console: after the data, or beside it on stderr where that is to be alone."""
        console = self.stderr if self.json_only or self.quiet else self.stdout
        drawn = make(console)
        if drawn is not None:
            self._print(console, Text())
            self._print(console, drawn)

    def warning(self, text: str) -> None:
        """Print on stderr what must not be lost, also with `--quiet`."""
        line = Text(_wrapped(f"warning: {printable(text)}", self.stderr))
        line.stylize("yellow bold", 0, len("warning:"))
        self._print(self.stderr, line)

    def document(self, value: Any) -> None:
        """Print `value` as the one JSON document of `--json`."""
        import json  # here, since --help needs none of it

        # Written past rich, which would wrap long strings. NaN is no JSON: a caller that lets one through has a fault.
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        try:
            text.encode(self.stdout.encoding)
        except UnicodeEncodeError:  # half characters of a file's name, or a terminal that knows no other than ASCII
            text = json.dumps(value, indent=2, allow_nan=False)
        self.stdout.file.write(text + "\n")
        self.stdout.file.flush()

    def text(self, text: str) -> None:
        """Print a text for a pipe on stdout as it is, whatever `--quiet` says."""
        try:
            text.encode(self.stdout.encoding)
        except UnicodeEncodeError:  # half characters of a file's name, or a terminal that knows no other than ASCII
            text = text.encode(self.stdout.encoding, "backslashreplace").decode(self.stdout.encoding)
        self.stdout.file.write(text)
        self.stdout.file.flush()

    def _print(self, console: Console, renderable: RenderableType, *, width: int | None = None) -> None:
        # Paths and messages may hold [brackets]: strings are text, never markup; the terminal wraps lines.
        if isinstance(renderable, str):
            renderable = Text(renderable)
        if isinstance(renderable, Text):
            console.print(renderable, soft_wrap=True)
        elif console.is_terminal:
            console.print(renderable, width=width)
        else:  # rich fills lines up with spaces, which a file does not need
            with console.capture() as capture:
                console.print(renderable, width=width)
            console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _wrapped(text: str, console: Console) -> str:
    """Return `text` with lines that end between words where `console` is a terminal; what is indented is left alone."""
    if not console.is_terminal:
        return text
    first, *others = text.split("\n")
    lines = textwrap.wrap(first, console.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join([*lines, *others])
