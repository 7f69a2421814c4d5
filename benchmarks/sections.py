"""A page of results that several benchmarks write, each its own section."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from grng import __version__

TITLE = "# Thousands of runs\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, all columns but the first to the right."""
    rule = ["---", *("---:" for _ in head[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def machine_line() -> str:
    """Return on what a benchmark ran."""
    cpus = len(_affinity())
    parts = [platform.machine(), f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    return f"{cpus} cores, {', '.join(parts)}, grng {__version__}."


def write_section(path: Path, heading: str, script: str, lines: Sequence[str]) -> None:
    """Put a section into a page, in the place of the one with the same heading."""
    text = path.read_text(encoding="utf-8") if path.exists() else TITLE
    body = "\n".join([f"## {heading}", "", f"Made by `python {script}`, which says what is measured.", "", *lines, ""])
    pattern = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text = pattern.sub(lambda _: f"{body}\n", text) if pattern.search(text) else f"{text.rstrip()}\n\n{body}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text.rstrip()}\n", encoding="utf-8")


def _affinity() -> Sequence[int]:
    from grng.experiments.pool.slots import usable_cores

    return usable_cores()
