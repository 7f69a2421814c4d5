"""Every Python block of the documentation runs, page by page, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, run_blocks

# test_integrations runs that page, and compares what its loops do
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if "```python" in page.read_text(encoding="utf-8") and page.stem != "integrations"
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(page)
