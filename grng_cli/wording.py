"""Numbers and durations as the terminal shows them; used by progress displays and summaries."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from grng_cli.printable import printable

if TYPE_CHECKING:
    from grng.runs.result import RunResult


def seconds(value: float | None) -> str:
    """Return a duration in seconds as `0.42 s`, `12 s`, `3 min 20 s` or `2 h 05 min`."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.2g} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def fraction(value: float | None) -> str:
    """Return an accuracy as `0.974`."""
    return "-" if value is None else f"{value:.3f}"


def scalar(value: float | None) -> str:
    """Return a loss or a time with four significant digits."""
    return "-" if value is None else f"{value:.4g}"


def size(count: float | None) -> str:
    """Return a number of bytes as `512 B`, `3.1 MB`."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def command(*parts: object) -> str:
    """Return a command line that a shell reads back as `parts`."""
    return shlex.join(map(str, parts))


def outcome(result: RunResult) -> str:
    """Return what became of a run, in a line: scores, or why there are none."""
    if result.status == "finished":
        scores = f"test accuracy {fraction(result.final.test_accuracy)}, loss {scalar(result.final.test_loss)}"
        return f"{scores}, {result.steps} steps in {seconds(result.time.train_s)}"
    if result.status == "diverged":
        why = "the loss was no number" if result.reason == "nan" else "the loss stayed above its bound"
        return f"diverged at step {result.steps}: {why}"
    first = (result.message or "").strip().splitlines()
    return f"{result.status} ({result.reason or 'unknown'}): {printable(first[-1]) if first else 'no message'}"


def listing(items: Sequence[str], *, limit: int = 5) -> str:
    """Return `a, b and 3 more`."""
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + rest
