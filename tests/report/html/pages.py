"""A page taken apart by an independent parser."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from grng_cli.report_formats import load
from grng_cli.report_page import page, split_sweeps


@dataclass
class Parsed(HTMLParser):
    """Elements with their attributes, scripts, and the visible text line by line."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._within = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif not self._within and data.strip():
            self.lines.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def figures(self) -> list[dict[str, Any]]:
        return list(json.loads(self.scripts[0][1])["all"])

    def attributes(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.elements if name in attributes]


def make_page(*directories: Path) -> str:
    """Return the page of these directories."""
    sweeps, others = split_sweeps(directories)
    return page(load(others) if others else None, sweeps, directories)


def parse(text: str) -> Parsed:
    found = Parsed()
    found.feed(text)
    found.close()
    return found


def policy_of(parsed: Parsed) -> str:
    return next(
        str(a["content"])
        for tag, a in parsed.elements
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )


def section_names(parsed: Parsed) -> list[str]:
    return [str(a["id"]) for tag, a in parsed.elements if tag == "section"]
