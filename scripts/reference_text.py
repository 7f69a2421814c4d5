"""Text of the program as Markdown: what the pages of the reference share."""

from __future__ import annotations

import re
from collections.abc import Sequence


def escaped(text: str) -> str:
    """Return text in which, outside of backticks, nothing becomes a tag, a link or emphasis."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*<\[\]])", r"\\\1", piece) for piece in pieces)


def cell(text: str) -> str:
    """Return text on one line, escaped."""
    return escaped(" ".join(text.split()))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; its cells are Markdown already, but for the bars."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(one.replace("|", "\\|") for one in line) + " |\n" for line in lines)
