"""The commands of README and docs run, page by page, in order, in an empty folder; runs are cut down to a few steps.

A script of nothing but commands is done line by line, `grng` in this process (most of the time is loading torch); any
other is bash's.

A page with Python among its commands (the tutorial, the how-to pages) has it run in between, in one namespace; pages
of Python alone are in test_code_blocks.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import call
from tests.data.makers import image_folder
from tests.docs.pages import DOCS, ROOT, Block, all_pages, blocks_of, is_walkthrough
from tests.docs.short import shortened

SHIMS = {
    "grng": f'#!/bin/sh\nexec "{sys.executable}" -m tests.docs.short "$@"\n',
    "pip": "#!/bin/sh\necho 'a test installs nothing'\n",
    "tensorboard": "#!/bin/sh\nfind \"$2\" -name 'events.out.tfevents.*' | grep .\n",  # a server would not end
}


def runs(block: Block) -> bool:
    return block.kind == "commands" and not block.directive.skipped


PAGES = [page for page in all_pages() if any(map(runs, blocks_of(page))) or is_walkthrough(page)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, text in SHIMS.items():
        shim = tmp_path / "bin" / name
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(text)
        shim.chmod(0o755)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def environment_of(place: Path, **more: str) -> dict[str, str]:
    paths = [str(place.parent / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {**os.environ, "PATH": os.pathsep.join(paths), "PYTHONPATH": str(ROOT), "COLUMNS": "160", **more}


def run_in_bash(script: str, place: Path, where: str, *, in_full: bool) -> None:
    command = ["bash", "-euo", "pipefail", "-c", script]
    environment = environment_of(place, **({"IN_FULL": "1"} if in_full else {}))
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{where}: exit code {done.returncode}\n{script}\n{done.stdout}\n{done.stderr}"


def is_plain(line: str) -> bool:
    """Return whether a line is one command, without anything that takes a shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    return "$" not in line and not any(set(word) <= set("();&|<>") for word in words)


def run_commands(script: str, place: Path, where: str, *, in_full: bool = False) -> None:
    """Run a script of the shell."""
    lines = [line for line in script.replace("\\\n", " ").splitlines() if line.strip()]
    if not all(map(is_plain, lines)):
        run_in_bash(script, place, where, in_full=in_full)
        return
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["grng"]:
            ran = call(*(words[1:] if in_full else shortened(words[1:])))
            assert ran.code == 0, f"{where}: exit code {ran.code}\n{line}\n{ran.out}\n{ran.err}"
        elif words:
            run_in_bash(line, place, where, in_full=in_full)


MADE = {
    "a run": "grng train --output {}",
    "a comparison": "grng compare --optimizers adamw,ring,reng --claim 'ring.test_loss < 9' --output {}",
    "a sweep": "grng sweep --optimizer ring --output {}",
}


def make(need: str, place: Path) -> None:
    """Make what a block needs, unless it is there."""
    what, _, name = need.rpartition(" ")
    if (place / name).exists():
        return
    if need == "photos":
        image_folder(place / "photos", {"blue": 40, "green": 40, "red": 40})
    else:
        run_commands(MADE[what].format(name), place, need)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks_of(page):
        for need in block.directive.needs:
            make(need, place)
        if runs(block):
            script = block.directive.applied(block.text)
            run_commands(script, place, block.name, in_full=block.directive.in_full)
        elif block.kind == "python" and is_walkthrough(page) and not block.directive.skipped:
            exec(compile(block.directive.applied(block.text), block.name, "exec"), names)


def test_every_python_block_is_run_by_some_test() -> None:
    elsewhere = {page for page in DOCS.rglob("*.md") if not is_walkthrough(page)}
    with_python = {page for page in all_pages() if any(block.kind == "python" for block in blocks_of(page))}
    assert with_python <= elsewhere | set(PAGES)
