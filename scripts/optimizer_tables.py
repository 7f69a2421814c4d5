"""Write the hyperparameter tables of docs/optimizers/ from the constructors' signatures, between markers.

    <!-- hyperparameters: sophia-g, sophia-h -->     one table for optimizers whose hyperparameters are the same
    <!-- modes: r-kalman -->                         what the defaults become in each of R-Kalman's modes
    <!-- end -->

python scripts/optimizer_tables.py            rewrites the pages
python scripts/optimizer_tables.py --check    only says which pages are out of date, and then exits with 1
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grng.optim.hyperparameters import Hyperparameter
from grng.optimizers import hyperparameters, resolve_hyperparameters

PAGES = Path(__file__).parents[1] / "docs" / "optimizers"
BLOCK = re.compile(r"(<!-- (hyperparameters|modes): ([a-z0-9, -]+) -->\n)(.*?)(<!-- end -->)", flags=re.DOTALL)

MODES: dict[str, dict[str, str]] = {
    "the default: `observation=samples`, `filter_scope=layer`": {},
    "`observation=samples`, `filter_scope=global`": {"observation": "samples", "filter_scope": "global"},
    "`observation=loss`": {"observation": "loss"},
    "… with `update=information`": {"observation": "loss", "update": "information"},
    "`observation=outputs`": {"observation": "outputs"},
}


def documented(page: str) -> list[str]:
    """Return the optimizers whose hyperparameters a page's text has a table of."""
    return [name for _, kind, names, _, _ in BLOCK.findall(page) if kind == "hyperparameters" for name in _split(names)]


def rewritten(page: str) -> str:
    """Return a page's text with the tables as the code has them."""
    tables = {"hyperparameters": hyperparameter_table, "modes": mode_table}
    return BLOCK.sub(lambda block: block[1] + tables[block[2]](_split(block[3])) + block[5], page)


def hyperparameter_table(names: Sequence[str]) -> str:
    """Return one table of the hyperparameters that the optimizers `names` share.

    Raises:
        ValueError: They are not the same.
    """
    first, *others = [hyperparameters(name) for name in names]
    if any(other != first for other in others):
        raise ValueError(f"{', '.join(names)} differ in their hyperparameters: give each a table of its own")
    rows = [
        [f"`{known.name}`", known.meaning.symbol, _values(known), _shown(known.default), known.meaning.text]
        for known in first.values()
    ]
    return table(["name", "symbol", "value", "default", "meaning"], rows)


def mode_table(names: Sequence[str]) -> str:
    """Return a table of what the defaults that depend on the mode become, for the one optimizer in `names`."""
    (name,) = names
    resolved = [resolve_hyperparameters(name, given) for given in MODES.values()]
    depending = [known for known, entry in hyperparameters(name).items() if entry.default is None]
    rows = [
        [f"`{known}`", *("" if values[known] is None else _shown(values[known]) for values in resolved)]
        for known in depending
    ]
    return table(["default of", *MODES], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def _values(known: Hyperparameter) -> str:
    bounds = known.meaning.range_text()
    return known.type_text + (f", {bounds}" if bounds else "")


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return ", ".join(_shown(part) for part in value) if isinstance(value, tuple) else f"{value}"


def main() -> int:
    """Rewrite the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a page is out of date")
    arguments = parser.parse_args()
    stale = []
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if rewritten(text) != text:
            stale.append(page.name)
            if not arguments.check:
                page.write_text(rewritten(text), encoding="utf-8")
    print(f"{'out of date' if arguments.check else 'written'}: {', '.join(stale) or 'none'}")
    return int(bool(stale) and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
