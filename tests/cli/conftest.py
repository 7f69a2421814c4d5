"""How the tests of the command line call it: in this process through Typer's runner, or as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grng_cli.main import app

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Call = Callable[..., Ran]


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty present directory."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def grng(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call `grng` with these arguments, in this process."""
    monkeypatch.delenv("GRNG_DEBUG", raising=False)

    def call(*arguments: object) -> Ran:
        ran = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="grng")
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return Ran(ran.exit_code, ran.stdout, ran.stderr)

    return call


@pytest.fixture
def process(workdir: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the real command as a process of its own, in the present directory."""

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "grng_cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    return start
