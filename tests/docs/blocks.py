"""Run the Python blocks of a page of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def run_blocks(page: Path) -> dict[str, Any]:
    """Run all blocks in order in one namespace, and return it."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    return names
