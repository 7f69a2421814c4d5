"""Every Python block of the documentation runs, page by page, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = [
    page
    for page in sorted(Path(__file__).parents[2].glob("docs/*.md"))
    if "```python" in page.read_text(encoding="utf-8")
]


# see tests/optim/test_compile.py
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
