"""The commands as a user meets them: in a terminal of 80×24, in a dumb one, in the logs of CI, and in a pipe."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from grng_cli.output import Output, is_plain
from tests.cli.conftest import TINY
from tests.cli.pty_screen import COLUMNS, in_terminal
from tests.cli.test_output import Terminal

ESCAPES = re.compile(rb"\x1b")
CURSOR = re.compile(rb"\x1b\[[0-9;?]*[A-HJKSTfhlsu]")
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("CI", "true", True),
        ("CI", "1", True),
        ("CI", "false", False),
        ("CI", "", False),
        ("TERM", "dumb", True),
        ("TERM", "xterm-256color", False),
    ],
)
def test_where_nothing_moves(monkeypatch: pytest.MonkeyPatch, name: str, value: str, plain: bool) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert is_plain() is plain
    output = Output()
    assert output.live is not plain
    output.warning("x")
    assert ("\x1b" in terminal.getvalue()) is not plain


def test_no_progress_is_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert Output().live
    assert not Output(progress=False).live


def test_a_list_in_a_terminal() -> None:
    seen = in_terminal("datasets", "list")
    assert seen.code == 0
    assert COLOURS.search(seen.raw), "a terminal has colours"
    assert not CURSOR.search(seen.raw), "nothing moves where nothing is waited for"
    assert max(map(len, seen.lines)) <= COLUMNS
    for word in ("mnist5k", "digits", "sphere", "folder", "train/val/test", "3,500/500/1,000", "needs", "--data-dir"):
        assert word in seen.text, "no column is cut, no number broken"


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["trian"], {"TERM": "dumb"}), (["datasets", "list"], {"CI": "true", "GITHUB_ACTIONS": "true"})],
)
def test_no_control_character_reaches_dumb_terminals_and_ci(arguments: list[str], environment: dict[str, str]) -> None:
    seen = in_terminal(*arguments, environment=environment)
    assert not ESCAPES.search(seen.raw), seen.raw
    assert seen.lines


@pytest.mark.slow
def test_ascii_alone_is_no_error() -> None:
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "80"}
    command = [sys.executable, "-m", "grng_cli", "datasets", "list"]
    ran = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.isascii()
    assert b"mnist5k" in ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_run_in_a_terminal(tmp_path: Path, no_color: str) -> None:
    frames: list[list[str]] = []
    seen = in_terminal(
        *("train", "--optimizer", "sgd", *TINY, "--steps", 40, "--plot", "--output", "run"),
        environment={"NO_COLOR": no_color},
        directory=tmp_path,
        watch=frames.append,
    )
    assert seen.code == 0
    moved = [frame for frame in frames if any(re.search(r"step \d+/40 .*loss", line) for line in frame)]
    for there in (moved, CURSOR.search(seen.raw), COLOURS.search(seen.raw)):
        assert bool(there) is not bool(no_color), "what moves is made of escape codes, which NO_COLOR forbids as well"
    assert max(map(len, seen.lines)) <= COLUMNS
    left = seen.text
    assert "━" not in left, "no bar is left behind"
    for text in ("test accuracy", "results:", "validation accuracy, by steps", "training loss, nats"):
        assert text in left
    assert "▝" in left or "▀" in left or "▄" in left, "curves are drawn"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["--no-progress"], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"}), ([], {"CI": "true"})],
)
def test_a_comparison_where_nothing_moves(tmp_path: Path, arguments: list[str], environment: dict[str, str]) -> None:
    line = ("compare", "--optimizers", "sgd,adamw", "--seeds", 1, *TINY, "--workers", 0, "--output", "out")
    seen = in_terminal(*line, *arguments, environment=environment, directory=tmp_path)
    assert seen.code == 0
    assert not ESCAPES.search(seen.raw)
    assert "\r" not in seen.raw.decode().replace("\r\n", "\n")
    assert "[1/2] sgd seed 0: test accuracy" in seen.text
    assert max(map(len, seen.lines)) <= COLUMNS
    assert sorted(path.name for path in (tmp_path / "out" / "@summary").iterdir() if path.is_dir()) == ["adamw", "sgd"]
