"""How the tests of the command line call it: in this process through Typer's runner, or as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grng_cli.main import app

TINY = ("--steps", 3, "--batch-size", 16, "--dataset", "digits", "--img-size", 32, "--model", "test_vit")
"""A workload of a second."""


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Call = Callable[..., Ran]
Start = Callable[..., "subprocess.Popen[str]"]
Snapshot = dict[str, tuple[bytes, int]]


def call(*arguments: object) -> Ran:
    """Call `grng` with these arguments, in this process."""
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="grng")
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


def snapshot(directory: Path) -> Snapshot:
    """Return content and time of change of every file below `directory`; directories end in a slash."""
    found: Snapshot = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_dir():
            found[f"{name}/"] = (b"", 0)
        else:
            found[name] = (path.read_bytes(), path.stat().st_mtime_ns)
    return found


@pytest.fixture(autouse=True)
def _a_persons_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CI runs the tests, or a dumb terminal does, a terminal that a test plays is still a person's."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty present directory."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def grng(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`call` in an empty present directory."""
    for name in ("GRNG_DEBUG", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return call


@pytest.fixture
def process(workdir: Path) -> Iterator[Start]:
    """Start the real command as a process of its own, in the present directory; the test's end ends it."""
    started = []

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "grng_cli", *map(str, arguments)]
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        started.append(running)
        return running

    yield start
    for running in started:
        if running.poll() is None:
            running.kill()
        running.communicate()
