"""Curves of `--plot`: what is drawn where, with which characters, on which stream."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from grng_cli.output import Output
from grng_cli.plots import _held, draw, plot_rows, plot_sweep
from tests.cli.conftest import Call
from tests.report.factory import make_run, write_plan

RISING = [(float(x), x / 10) for x in range(11)]
FALLING = [(float(x), 1 - x / 10) for x in range(11)]


class Stream(io.TextIOWrapper):
    def __init__(self, encoding: str, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def console(*, encoding: str = "utf-8", terminal: bool = True, colour: bool = True, width: int = 80) -> Console:
    stream = Stream(encoding, terminal=terminal)
    system = "standard" if colour else None
    return Console(file=stream, force_terminal=terminal, color_system=system, width=width)  # type: ignore[arg-type]


def body(text: str) -> list[str]:
    """Return the lines between the frame's sides."""
    return [line.split("│")[1] for line in text.splitlines() if line.count("│") == 2]


def test_a_rising_curve_rises_and_a_falling_one_falls() -> None:
    for points, left_is_low in ((RISING, True), (FALLING, False)):
        drawn = draw("x", {"a": points}, console(colour=False))
        assert drawn is not None
        columns: dict[int, int] = {}
        for row, line in enumerate(body(drawn.plain)):
            for column, character in enumerate(line):
                if character != " ":
                    columns.setdefault(column, row)
        first, last = min(columns), max(columns)
        assert (columns[first] > columns[last]) is left_is_low
        assert last - first > 50, "the curve takes the whole width"
        rows = [columns[column] for column in sorted(columns)]
        assert rows == sorted(rows, reverse=left_is_low), "nothing jumps"


def test_it_fits_and_has_title_and_names() -> None:
    for width in (60, 80, 200):
        drawn = draw("validation accuracy", {"adamw": RISING, "ring[rho=0.1]": FALLING}, console(width=width))
        assert drawn is not None
        assert max(map(len, drawn.plain.splitlines())) <= min(width, 100)
        assert "validation accuracy" in drawn.plain
        assert "ring[rho=0.1]" in drawn.plain
        assert len(drawn.plain.splitlines()) < 24


def test_colour_tells_curves_apart_and_without_it_characters_do() -> None:
    series = {"a": RISING, "b": FALLING}
    coloured, plain = draw("x", series, console()), draw("x", series, console(colour=False))
    assert coloured is not None
    assert plain is not None
    assert len({str(span.style) for span in coloured.spans}) >= 2
    assert plain.spans == []
    drawn = "".join(body(plain.plain))
    assert {"+", "x"} <= set(drawn)
    assert "▀" not in drawn


def test_an_encoding_without_blocks_gets_ascii() -> None:
    for encoding in ("ascii", "latin-1"):
        drawn = draw("λ", {"ρ": RISING}, console(encoding=encoding))
        assert drawn is not None
        drawn.plain.encode(encoding)
        assert "+" in drawn.plain
        assert "|" in drawn.plain


@pytest.mark.parametrize("points", [[], [(1.0, float("nan"))], [(float("inf"), 1.0)]])
def test_nothing_is_drawn_of_nothing(points: list[tuple[float, float]]) -> None:
    assert draw("x", {"a": points}, console()) is None


@pytest.mark.parametrize("points", [[(1.0, 0.5)], [(1.0, 0.5), (2.0, 0.5)], [(5.0, 1e-12), (6.0, 1e12)]])
def test_few_and_odd_points_are_drawn(points: list[tuple[float, float]]) -> None:
    drawn = draw("x", {"a": points, "none": []}, console())
    assert drawn is not None
    assert "none" not in drawn.plain


@pytest.mark.parametrize(("json_only", "quiet", "on_stdout"), [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_drawings_go_beside_data_that_is_to_be_alone(
    capsys: pytest.CaptureFixture[str], json_only: int, quiet: int, on_stdout: bool
) -> None:
    output = Output(json_only=bool(json_only), quiet=bool(quiet))
    output.drawing(lambda console: draw("title", {"a": RISING}, console))
    out, err = capsys.readouterr()
    assert ("title" in out, "title" in err) == (on_stdout, not on_stdout)
    plot_rows([], output)
    assert list(capsys.readouterr()) == ["", ""]


def test_a_report_draws_epochs(grng: Call, workdir: Path) -> None:
    write_plan(workdir / "x", ["adamw", "ring"], [0, 1], reference="adamw", workers=1)
    for label in ("adamw", "ring"):
        for seed in (0, 1):
            directory = make_run(workdir / "x", label, seed)
            lines = [
                {
                    "kind": "epoch",
                    "step": 10 * k,
                    "epoch": k,
                    "elapsed_s": 1,
                    "train_loss": 1 / k,
                    "val_accuracy": k / 9,
                }
                for k in range(1, 9)
            ]
            (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = grng("report", "x", "--plot")
    assert ran.code == 0
    drawn = ran.out.split("validation accuracy, by epochs")[1]
    assert "training loss, nats, by epochs" in drawn
    assert "adamw" in drawn
    ran = grng("report", "x", "--plot", "--json")
    json.loads(ran.out)
    assert "validation accuracy, by epochs" in ran.err
    assert "by epochs" not in grng("report", "x").out


def test_a_sweep_draws_its_trials_and_the_best_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    values = [0.5, None, 0.7, 0.6, 0.9, 0.8]
    trials = [SimpleNamespace(number=number, value=value) for number, value in enumerate(values)]
    summary: Any = SimpleNamespace(objective="accuracy", trials=trials, improvements=[trials[0], trials[2], trials[4]])
    plot_sweep(summary, Output())
    out = capsys.readouterr().out
    assert "by trial" in out
    assert "best so far" in out
    assert _held([(0, 0.5), (2, 0.7), (4, 0.9)], 5) == [(0, 0.5), (2, 0.5), (2, 0.7), (4, 0.7), (4, 0.9), (5, 0.9)]
    nothing: Any = SimpleNamespace(objective="accuracy", trials=[], improvements=[])
    plot_sweep(nothing, Output())
    assert capsys.readouterr().out == ""
