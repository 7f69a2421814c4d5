"""Every optimizer has a page, its table is what the code says, and no link of the documentation leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from grng.optim.registry import REGISTRY
from tests.docs.blocks import DOCS
from tests.docs.pages import blocks_of
from tests.oracles.scripts import load_script

ROOT = DOCS.parent
PAGES = DOCS / "optimizers"


tables: Any = load_script("optimizer_tables")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_tables_are_the_codes(page: Path) -> None:
    assert tables.rewritten(text_of(page)) == text_of(page), "run: python scripts/optimizer_tables.py"


def test_a_table_that_is_not_the_codes_is_seen() -> None:
    page = text_of(PAGES / "ring.md")
    stale = page.replace("| `rho` | ρ | a number, at least 0 |", "| `rho` | ρ | a number, at least 1 |")
    assert stale != page
    assert tables.rewritten(stale) == page


def test_a_bar_in_a_cell_does_not_cut_it() -> None:
    assert tables.table(["a", "b"], [["x|y", "z"]]) == "| a | b |\n| --- | --- |\n| x\\|y | z |\n"


def test_every_optimizer_has_one_page_and_the_index_leads_to_it() -> None:
    pages = {name: page.name for page in PAGES.glob("*.md") for name in tables.documented(text_of(page))}
    assert sorted(name for page in PAGES.glob("*.md") for name in tables.documented(text_of(page))) == sorted(REGISTRY)
    index = text_of(PAGES / "index.md")
    for name, page in pages.items():
        row = next(line for line in index.splitlines() if line.startswith("| [") and f"`{name}`" in line)
        assert f"]({page})" in row, name


@pytest.mark.parametrize("name", list(REGISTRY))
def test_a_page_says_source_cost_and_limits(name: str) -> None:
    page = next(text_of(page) for page in PAGES.glob("*.md") if name in tables.documented(text_of(page)))
    headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    wanted = ["Cost", "Hyperparameters", "When to use, and limits", "Literature"]
    assert [heading for heading in headings if heading in wanted] == wanted
    papers = re.findall(r"arXiv (\d{4}\.\d{5})", REGISTRY[name].paper)
    assert all(paper in page.partition("## Literature")[2] for paper in papers)


@pytest.mark.parametrize("page", sorted(set(PAGES.glob("*.md")) - {PAGES / "index.md"}), ids=lambda page: page.stem)
def test_a_page_has_equations_and_says_whose_each_part_is(page: Path) -> None:
    _, heading, after = text_of(page).partition("\n## What is the paper's, and what is not\n")
    assert heading
    equations = [block.text for block in blocks_of(page) if block.kind == "display"]
    assert any("θ" in text or "δ" in text for text in equations)
    section = after.partition("\n## ")[0]
    assert section.count("\n| ") >= 3, "a table of the parts"
    assert "ours" in section
    assert "defaults" in section


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub's anchors."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        if found.parent == DOCS / "reference":
            assert found.stem in ("api", "cli", "config"), link  # made when the site is; test_site has them
            continue
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link
