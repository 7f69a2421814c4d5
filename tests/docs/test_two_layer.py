"""The page of the two-layer experiment: from run directories to a table and a figure, and whether it is the config's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from grng.runs.shipped import find_config
from tests.oracles.scripts import load_script

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "two-layer.md"


@pytest.fixture(scope="module")
def loaded() -> ModuleType:
    return load_script("two_layer")


@pytest.fixture
def script(loaded: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script without its figure, which takes seconds."""
    monkeypatch.setattr(loaded, "draw", lambda rows, path: None)
    return loaded


def write_run(directory: Path, losses: Sequence[float | None], *, width: int = 64, **optimizer: Any) -> None:
    directory.mkdir(parents=True)
    config = {"model": {"name": "two_layer", "kwargs": {"width": width}}, "optimizer": optimizer, "training": {}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [{"kind": "step", "step": step + 1, "train_loss": loss} for step, loss in enumerate(losses)]
    epochs = [{"kind": "epoch", "step": step + 1, "train_loss": 7.0} for step in range(len(losses))]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, *epochs]))


def falling(factor: float, steps: int = 40) -> list[float]:
    return [0.8 * factor**step for step in range(steps)]


def cells(page: str, start: Mapping[int, str]) -> list[str]:
    """Return the first line of a table with these cells."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    return next(row for row in rows if all(row[place] == text for place, text in start.items()))


def test_the_best_of_each_row_with_its_rate(script: ModuleType, tmp_path: Path) -> None:
    for lr, factor in ((0.1, 0.9), (0.2, 0.5), (0.4, 0.7)):
        write_run(tmp_path / f"w64/ring-{lr}", falling(factor), name="ring", rho=0.1, lr=lr, damping=1e-4)
    write_run(tmp_path / "w64/ring-0.8", [0.8, 2.0, 5.0], name="ring", rho=0.1, lr=0.8, damping=1e-4)
    write_run(tmp_path / "w64/ring-1.6", [0.8, None], name="ring", rho=0.1, lr=1.6, damping=1e-4)
    write_run(tmp_path / "w64/sgd", falling(0.8, 100), name="sgd", lr=50.0, momentum=0.9)
    write_run(tmp_path / "w64/sgd-0.5", [0.8, 1.0, 0.9], name="sgd", lr=50.0, momentum=0.5)
    write_run(tmp_path / "w128/sgd", falling(0.25), name="sgd", lr=50.0, momentum=0.0, width=128)
    output = tmp_path / "page.md"
    script.main([str(tmp_path / "w64"), str(tmp_path / "w128"), "--output", str(output)])
    page = output.read_text()
    ring = ["64", "ring", "0.1", "0.2", "0.0001", "–", "5 (2 up)", "0.500 ± 0.000", "0.500 ± 0.000", "20", "1.5e-12"]
    assert cells(page, {0: "64", 1: "ring"}) == ring
    sgd = [
        "64",
        "sgd with momentum",
        "–",
        "50",
        "–",
        "0.9*",
        "2 (1 up)",
        "0.800 ± 0.000",
        "0.800 ± 0.000",
        "62",
        "2.0e-10",
    ]
    assert cells(page, {0: "64", 1: "sgd with momentum"}) == sgd
    assert cells(page, {0: "128", 1: "sgd"})[7] == "0.250 ± 0.000"
    everything = page.partition("## All that was tried")[2]
    assert "| 64 | sgd with momentum | – | 0.5 | 50: up |\n| 64 | sgd with momentum | – | 0.9 | 50: 62 |" in everything
    assert "| 64 | ring | 0.1 | 0.0001 | 0.1: to 2e-02; 0.2: 20; 0.4: 39; 0.8: up; 1.6: up |" in everything


def test_a_best_at_the_end_of_what_was_tried_has_a_star(script: ModuleType, tmp_path: Path) -> None:
    for lr, factor in ((0.1, 0.9), (0.2, 0.5)):
        write_run(tmp_path / f"kfac-{lr}", falling(factor), name="kfac", lr=lr, damping=1e-3)
    script.main([str(tmp_path), "--output", str(tmp_path / "page.md")])
    assert cells((tmp_path / "page.md").read_text(), {1: "kfac"})[3:5] == ["0.2*", "0.001"]


def test_the_figure_has_a_line_for_every_row(loaded: ModuleType, tmp_path: Path) -> None:
    for rho in (0.0, 0.1, 1.0):
        write_run(tmp_path / f"ring-{rho}", falling(0.5), name="ring", rho=rho, lr=0.1, damping=1e-4)
    write_run(tmp_path / "up", [1.0, 2.0, 3.0], name="sgd", lr=500.0, momentum=0.0)
    loaded.draw(loaded.rows_of(loaded.read_curves([tmp_path])), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    ElementTree.fromstring(text)
    assert [label for label in ("ring, ρ=0", "ring, ρ=0.1", "ring, ρ=1") if f">{label}<" not in text] == []
    assert ">sgd<" not in text, "a loss that goes up is not drawn"


@pytest.mark.slow
def test_the_figure_is_the_same_every_time(loaded: ModuleType, tmp_path: Path) -> None:
    write_run(tmp_path / "ring", falling(0.5), name="ring", rho=0.1, lr=0.1, damping=1e-4)
    for name in ("a.md", "b.md"):
        loaded.main([str(tmp_path), "--output", str(tmp_path / name)])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "](a.svg)" in (tmp_path / "a.md").read_text()


def test_what_was_written_above_the_mark_stays(script: ModuleType, tmp_path: Path) -> None:
    write_run(tmp_path / "sgd", falling(0.5), name="sgd", lr=1.0, momentum=0.0)
    output = tmp_path / "page.md"
    output.write_text(f"# Mine\n\nFindings.\n\n{script.MARK}\nold\n")
    script.main([str(tmp_path), "--output", str(output)])
    assert output.read_text().startswith(f"# Mine\n\nFindings.\n\n{script.MARK}\n")
    assert "old" not in output.read_text()


def test_what_is_no_run_of_the_experiment_is_left_out(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "sparse", falling(0.5), name="sgd", lr=1.0)
    lines = (tmp_path / "sparse" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "sparse" / "metrics.jsonl").write_text("".join(lines[::2]))
    with pytest.raises(SystemExit):
        script.main([str(tmp_path), "--output", str(tmp_path / "page.md")])
    assert "no run of two_layer with every step logged" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_the_page_has_every_row_of_the_config_at_every_width(script: ModuleType) -> None:
    config = yaml.safe_load(find_config("paper/two_layer").read_text())
    rows = {script.Curve(row["name"], row, 0, (1.0,)).row for row in config["optimizers"]}
    table = PAGE.read_text(encoding="utf-8").partition(script.MARK)[2].partition("## All that was tried")[0]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[4:]]
    found = {(row[0], row[1], row[2]) for row in shown if len(row) == 11 and row[0].isdigit()}
    widths = {width for width, _, _ in found}
    assert len(widths) >= 3
    expected = {(name, "–" if rho is None else f"{rho:g}") for name, rho in rows}
    assert found == {(width, *row) for width in widths for row in expected}
