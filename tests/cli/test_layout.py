from __future__ import annotations

import io

import pytest
from rich.console import Console

from grng.report.columns import Column
from grng_cli.layout import GAP, blocks, column_width, label_width, render

LABELS = ("adamw", "ring", "ring[rho=0.1,damping=0.01]")
INTERVAL = ("0.975 [0.962, 0.988]",) * 3
COLUMNS = [
    Column("optimizer", "left", LABELS, None),
    Column("runs", "left", ("3", "2, 1 diverged", "3"), "accuracy"),
    Column("test accuracy", "right", INTERVAL, "accuracy"),
    Column("against adamw, points", "right", ("reference", "+0.4 [-0.1, +0.9]", "+0.4 [-0.1, +0.9]"), "accuracy"),
    Column("p (Holm)", "right", ("–", "0.25 (1)", "0.25 (1)"), "accuracy"),
    Column("verdict", "left", ("", "no verdict: 1 run of ring diverged", "not distinguishable with n = 3"), "accuracy"),
    Column("test loss", "right", INTERVAL, "loss"),
    Column("train loss", "right", INTERVAL, "loss"),
    Column("val. accuracy", "right", INTERVAL, "loss"),
    Column("steps to 0.95 val. accuracy", "right", ("81", "∞ (0/3)", "54"), "target"),
    Column("time to it, s", "right", ("1.2", "∞ (0/3)", "1.4"), "target"),
    Column("step, ms", "right", ("10.1", "20.2", "20.3"), "cost"),
    Column("memory growth, MB", "right", ("10.1", "20.2", "20.3"), "cost"),
    Column("state, B/parameter", "right", ("8.0", "30", "30"), "cost"),
]


def printed(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render(COLUMNS, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 300])
def test_every_column_stands_once_and_every_line_fits(width: int) -> None:
    laid_out = blocks(COLUMNS, width)
    assert [column for block in laid_out for column in block[1:]] == COLUMNS[1:], "none is lost, none comes twice"
    assert all(block[0] is COLUMNS[0] for block in laid_out)
    lines = printed(width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for cell in ("0.975 [0.962, 0.988]", "+0.4 [-0.1, +0.9]", "0.25 (1)", "∞ (0/3)"):
        assert cell in text, "numbers stay in one piece"
    assert text.count("0.975 [0.962, 0.988]") == 12


def test_a_wide_terminal_gets_one_table_and_whole_names() -> None:
    assert len(blocks(COLUMNS, 300)) == 1
    assert [line for line in printed(300) if line.startswith("ring[rho=0.1,damping=0.01]  3")]


def test_groups_are_torn_only_where_that_saves_a_block() -> None:
    groups = [list(dict.fromkeys(column.group for column in block[1:])) for block in blocks(COLUMNS, 150)]
    assert groups == [["accuracy"], ["loss", "target", "cost"]]
    titles = [[column.title for column in block[1:]] for block in blocks(COLUMNS, 120)]
    assert titles[0] == ["runs", "test accuracy", "against adamw, points", "p (Holm)"]
    assert len(titles) == 3


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_no_block_could_take_the_next_column_in_fewer(width: int) -> None:
    def greedy() -> int:
        count, used = 0, width
        for column in COLUMNS[1:]:
            wide = GAP + column_width(column)
            if used + wide > width:
                count, used = count + 1, label_width(COLUMNS[0], width)
            used += wide
        return count

    assert len(blocks(COLUMNS, width)) == greedy(), "as few as there can be: filling up is optimal in number"


def test_a_column_wider_than_the_line_gets_a_block_of_its_own() -> None:
    wide = Column("x", "right", ("1" * 70,) * 3, "cost")
    assert [len(block) for block in blocks([COLUMNS[0], COLUMNS[2], wide, COLUMNS[11]], 60)] == [2, 2, 2]
