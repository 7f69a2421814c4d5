"""Every format of the report against a stored text that was read and found good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grng import __version__
from grng_cli.report_formats import Loaded, load, written
from tests.report.factory import make_run
from tests.report.html.pages import make_page, parse
from tests.report.html.runs import make_full
from tests.report.snapshots import check

ODD = "a|b *c* <d>_100%"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_full(tmp_path_factory.mktemp("formats"), ("adamw", "ring", ODD))
    make_run(
        root,
        ODD,
        1,
        status="diverged",
        reason="nan",
        steps=30,
        final={"test_accuracy": None},
        target={"step": None, "time_s": None},
    )
    return root


@pytest.fixture(scope="module")
def loaded(root: Path) -> Loaded:
    return load([root], claims=["ring.test_accuracy > adamw.test_accuracy"], margin=0.005)


@pytest.mark.parametrize(("name", "ending"), [("markdown", "md"), ("latex", "tex"), ("csv", "csv"), ("json", "json")])
def test_the_text_is_the_stored_one(loaded: Loaded, root: Path, name: str, ending: str) -> None:
    text = written(loaded, name).replace(str(root), "DIR")
    if name == "json":  # the last digits are those of the machine
        text = json.dumps(json.loads(text, parse_float=lambda number: float(f"{float(number):.9g}")), indent=2) + "\n"
    check(f"report.{ending}", text)


def test_the_text_of_the_page_is_the_stored_one(root: Path) -> None:
    text = parse(make_page(root)).text
    check("page.txt", text.replace(str(root), "DIR").replace(f"grng {__version__}", "grng VERSION") + "\n")
