"""The map of the architecture names files that are there."""

from __future__ import annotations

import re

from tests.docs.pages import DOCS, ROOT


def test_every_file_on_the_map_is_there() -> None:
    lines = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## Map")[2].partition("\n## ")[0]
    named = set(re.findall(r"(?<![\w*])\w+\.py\b", lines))
    there = {path.name for top in ("grng", "grng_cli", "scripts") for path in (ROOT / top).rglob("*.py")}
    assert len(named) > 150
    assert sorted(named - there) == []


def test_lines_of_the_map_fit_an_editor() -> None:
    lines = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## Map")[2].partition("\n## ")[0]
    assert max(map(len, lines.splitlines())) <= 130
