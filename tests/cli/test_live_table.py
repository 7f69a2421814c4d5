"""The table of all runs: what it shows in terminals of two sizes, and that it fits them at every moment."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from grng_cli.live.live_table import render
from grng_cli.live.run_board import Board
from tests.cli.killing import COMPARE, SWEEP, TUNE

LONG = "ring[rho=0.1,damping=0.01,kl_clip=0.001,momentum=0.9]"


def board(count: int) -> Board:
    """A board with runs in every state, a hundred seconds after the first two began."""
    now = [0.0]
    made = Board(2, clock=lambda: now[0])
    for number in range(count):
        label = LONG if number % 2 else "sgd"
        made.add(number, f"{label} seed {number}", label, 250)
    made.end(0, "finished", step=250, accuracy=0.974, reused=True)
    made.start(1, 250)
    made.start(2, 250, step=100)
    now[0] = 100.0
    made.advance(1, 50, loss=1.234)
    made.advance(2, 200, loss=0.5)
    made.score(2, 0.9)
    made.end(3, "diverged", step=12)
    made.leave(4, "elsewhere")
    made.end(5, "failed", step=30)
    return made


def lines(made: Board, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(render(made, width, height))
    found = capture.get().splitlines()
    assert all(len(line) <= width for line in found)
    assert len(found) < height
    return [line.rstrip() for line in found]


def test_at_80_columns() -> None:
    assert (
        lines(board(8), 80, 24)
        == textwrap.dedent("""\
        run                     state                steps        val.acc.  left
        sgd seed 0              finished             250             0.974  reused
        ring[rho=0.1,d… seed 1  running    ━╸        50/250                 6 min 40 s
        sgd seed 2              running    ━━━━━━    200/250         0.900  50 s
        ring[rho=0.1,d… seed 3  diverged             12
        sgd seed 4              elsewhere
        ring[rho=0.1,d… seed 5  failed               30
        sgd seed 6              waiting
        ring[rho=0.1,d… seed 7  waiting
        2 running, 1 elsewhere, 2 waiting, 1 finished (best 0.974), 1 diverged, 1 failed
        all  ━━━       3/8 runs, about 10 min 00 s left
        """).splitlines()
    )


def test_at_120_columns() -> None:
    heading, finished, running, *_ = lines(board(8), 120, 40)
    assert heading.split() == ["run", "state", "steps", "loss", "val.acc.", "left"]
    assert finished.split() == ["sgd", "seed", "0", "finished", "250", "0.974", "reused"]
    assert "damping=0.01" in running
    assert "… seed 1 " in running
    assert running.split()[-5:] == ["1.234", "6", "min", "40", "s"]


def test_more_runs_than_lines_are_counted() -> None:
    found = lines(board(3000), 80, 24)
    assert [line.split("  ")[0] for line in found[1:4]] == ["ring[rho=0.1,d… seed 1", "sgd seed 2", "sgd seed 4"]
    assert " ".join(found[4:-1]) == (
        "2 running, 1 elsewhere, 2994 waiting, 1 finished (best 0.974), 1 diverged, 1 failed"
    )
    assert found[-1].startswith("all ")
    assert len(found) <= 7


def test_more_runs_under_way_than_lines() -> None:
    made = Board(40)
    for number in range(40):
        made.add(number, f"run {number}", "a", 10)
        made.start(number, 10)
    found = lines(made, 80, 12)
    assert found[-3] == "and 34 more under way"
    assert found[1].startswith("run 0 ")


class Watched:
    """A command on a real terminal, what it draws kept as the screen shows it.

    Args:
        command: What is run.
        columns: Of the terminal; what is drawn beyond them would be seen.
        lines: Of the terminal.
        folder: Where it runs.
    """

    def __init__(self, command: list[str], columns: int, lines: int, folder: Path) -> None:
        self.raw = ""
        self.frames: list[list[str]] = []
        screen = pyte.Screen(columns + 100, lines)
        stream = pyte.Stream(screen)
        decoder = codecs.getincrementaldecoder("utf-8")()
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        running = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment, close_fds=True
        )
        os.close(slave)
        deadline = time.monotonic() + 280
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(master, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            text = decoder.decode(data)
            self.raw += text
            stream.feed(text)
            for line in screen.display:
                assert not line[columns:].strip(), f"{line!r} is too long"
            self.frames.append([line.rstrip() for line in screen.display])
        os.close(master)
        self.code = running.wait(20)

    def assert_calm(self) -> None:
        """Assert that the screen was never cleared, and nothing of the table is left on it."""
        assert "\x1b[2J" not in self.raw
        assert not [line for line in self.frames[-1] if line.startswith("all ") or "waiting" in line]


PLAYED = """
import sys, time
from grng_cli.live.run_board import Board
from grng_cli.live.live_table import LiveTable
from grng_cli.output import Output

output, board = Output(), Board(2)
runs = [f"{label} seed {seed}" for seed in range(int(sys.argv[1])) for label in ("sgd", "ring[rho=0.1,damping=0.01]")]
for run in runs:
    board.add(run, run, "a", 20)
with LiveTable(output, board) as table:
    for number, run in enumerate(runs):
        board.start(run, 20)
        board.advance(run, 7, loss=0.5)
        table.refresh()  # a busy machine may have no time for it by itself
        time.sleep(0.3 if number < 2 else 0)
        board.end(run, "diverged" if number == 1 else "finished", step=20, accuracy=0.6)
        output.chatter(f"{run}: " + 20 * "words ")
        table.refresh()
        time.sleep(0.3 if number < 3 else 0)
"""


@pytest.mark.parametrize(
    ("columns", "height", "seeds"), [(80, 24, 3), pytest.param(120, 40, 200, marks=pytest.mark.slow)]
)
def test_on_a_real_terminal_it_moves_and_fits(columns: int, height: int, seeds: int, tmp_path: Path) -> None:
    script = tmp_path / "played.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n{PLAYED}")
    seen = Watched([sys.executable, str(script), str(seeds)], columns, height, tmp_path)
    assert seen.code == 0, seen.raw
    shown = "\n".join(line for frame in seen.frames for line in frame)
    assert "1 running, " in shown
    assert "1 diverged" in shown
    assert f"/{2 * seeds} runs" in shown
    if 2 * seeds < height:
        assert any("sgd seed 2" in line and "waiting" in line for frame in seen.frames for line in frame)
    seen.assert_calm()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "columns", "height"), [(COMPARE, 80, 24), (SWEEP, 120, 40), (SWEEP, 80, 24), (TUNE, 80, 24)]
)
def test_commands_on_a_real_terminal(line: tuple[object, ...], columns: int, height: int, tmp_path: Path) -> None:
    arguments = [str(part) for part in line if part != "--json"]
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); from grng_cli.main import run; run()"]
    seen = Watched([*command, *arguments, "--output", "x"], columns, height, tmp_path)
    assert seen.code == 0, seen.raw
    shown = [line for frame in seen.frames for line in frame]
    states = {state for state in ("waiting", "running", "finished") for text in shown if f" {state} " in f"{text} "}
    assert states == {"waiting", "running", "finished"}
    assert any(text.startswith("all ") and "/4 runs" in text for text in shown)
    seen.assert_calm()
