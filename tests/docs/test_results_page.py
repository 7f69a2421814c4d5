"""Results pages from run directories: the tables are made, what a person wrote stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.oracles.scripts import load_script
from tests.report.factory import make_experiment

script: Any = load_script("results_page")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return make_experiment(tmp_path / "runs", {"adamw": [0.90, 0.92], "ring": [0.94, 0.95]})


def test_a_page_is_begun_and_made_again_bit_for_bit(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "digits.md"
    assert script.main([str(runs), "--output", str(page), "--title", "Digits"]) == 0
    text = page.read_text()
    assert text.startswith(
        f"# Digits\n\n{script.mark('digits')}\nMade by `python -m scripts.results_page {runs} --output {page}`"
    )
    assert "from 4 runs; grng 0.1.0, torch 2.9.0.\n" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| ring |")]
    assert "| 0.945 [" in row
    assert "not distinguishable with n = 2" in row
    assert script.main([str(runs), "--output", str(page)]) == 0
    assert page.read_text() == text


def test_what_stands_around_the_tables_stays(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    before, between, after = "# Mine\n\nRING is ahead.\n\n", "\nAnd more.\n\n", "\nLimits: two seeds \\1.\n"
    one, two = (f"{script.mark(name)}\nold {name}\n{script.END}\n" for name in ("one", "two"))
    page.write_text(before + one + between + two + after)
    assert script.main([str(runs), "--output", str(page), "--name", "two"]) == 0
    text = page.read_text()
    assert text.startswith(before + one + between + script.mark("two"))
    assert text.endswith(after)
    assert "old two" not in text
    assert "--name two` from" in text


def test_a_page_without_the_marker_is_left_alone(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# All by hand\n")
    assert script.main([str(runs), "--output", str(page)]) == 2
    assert page.read_text() == "# All by hand\n"
    assert "has 0 parts called 'page', not one. Put the lines <!-- results: page -->" in capsys.readouterr().err


def test_no_runs_are_one_message_and_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert script.main([str(tmp_path / "empty"), "--output", str(tmp_path / "page.md")]) == 2
    assert str(tmp_path / "empty") in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_several_workloads_have_a_table_each_and_one_over_all(tmp_path: Path) -> None:
    for model in ("test_vit", "test_resnet"):
        make_experiment(tmp_path / "runs" / model, {"adamw": [0.9], "ring": [0.94]}, model=model)
    page = tmp_path / "page.md"
    assert script.main([str(tmp_path / "runs"), "--output", str(page)]) == 0
    headings = [line for line in page.read_text().splitlines() if line.startswith("## ")]
    assert headings == ["## test\\_resnet on mnist5k", "## test\\_vit on mnist5k", "## Over all workloads"]
