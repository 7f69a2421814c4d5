"""Every Python block of the documentation runs, page by page, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, run_blocks
from tests.docs.pages import is_walkthrough

# test_integrations runs that page, and compares what its loops do; test_blocks_run those with commands in between
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if "```python" in page.read_text(encoding="utf-8") and page.stem != "integrations" and not is_walkthrough(page)
]


# see tests/optim/test_compile.py
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(page)
