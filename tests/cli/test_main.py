"""The table of contents: what `--help` shows, what it loads, how long it takes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from grng import __version__
from tests.cli.conftest import Call

COMMANDS = [
    [],
    ["train"],
    ["compare"],
    ["sweep"],
    ["report"],
    ["replay"],
    ["env"],
    ["optimizers"],
    ["optimizers", "list"],
    ["optimizers", "show"],
    ["models", "list"],
    ["datasets", "list"],
    ["config"],
    ["config", "show"],
    ["config", "check"],
    ["config", "schema"],
]
# pydantic is missing here: newer versions of Typer load it themselves to show a command's options.
HEAVY = ["torch", "timm", "numpy", "scipy", "yaml", "tensorboard", "jinja2", "plotly"]

LOOK = """
import json, sys
from grng_cli.main import app
loaded = {}
for command in json.loads(sys.argv[1]):
    try:
        app([*command, "--help"], prog_name="grng")
    except SystemExit as end:
        assert not end.code, end.code
    print()
    print("LOADED", json.dumps([name for name in json.loads(sys.argv[2]) if name in sys.modules]))
"""


def test_no_help_loads_what_is_heavy() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(COMMANDS), json.dumps(HEAVY)],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = [json.loads(line.removeprefix("LOADED ")) for line in ran.stdout.splitlines() if "LOADED" in line]
    assert loaded == [[]] * len(COMMANDS)
    assert ran.stdout.count("Usage: grng") == len(COMMANDS)


def cost(*arguments: str) -> float:
    """Return the processor seconds of one call."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return used() - before


def test_help_is_quick() -> None:
    helps, yardsticks = [], []
    # Torch's import alone takes ten times as long as the yardstick; each flag of a command takes a millisecond or two.
    for _ in range(20):  # a busy machine only ever adds, so that the least of some calls counts
        helps.append(cost("-c", "from grng_cli.main import run; run()", "--help"))
        yardsticks.append(cost("-c", "import typer, rich"))
        if len(helps) >= 3 and min(helps) < 4 * min(yardsticks):
            break
    assert min(helps) < 4 * min(yardsticks)


def test_the_module_is_the_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "grng_cli", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"grng {__version__}\n"


def test_without_a_command_there_is_help(grng: Call) -> None:
    ran = grng()
    assert ran.code == 2
    for name in ("train", "compare", "sweep", "report", "replay", "env", "optimizers", "models", "datasets", "config"):
        assert name in ran.out + ran.err


def test_an_unknown_command_and_option_are_bad_usage(grng: Call, workdir: Path) -> None:
    assert "No such command 'trian'" in (ran := grng("trian")).err
    assert ran.code == 2
    assert "No such option: --optimiser" in (ran := grng("train", "--optimiser", "ring")).err
    assert ran.code == 2
    assert not list(workdir.iterdir())


@pytest.mark.parametrize(
    ("option", "words"), [("--epochs", "must be a whole number"), ("--target", "must be a number")]
)
def test_a_word_where_a_number_belongs_is_told_in_our_words(grng: Call, option: str, words: str) -> None:
    ran = grng("train", option, "many")
    assert ran.code == 2
    assert f"Invalid value for '{option}': {words}" in ran.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [("grng train --dataset mn", ["mnist5k"]), ("grng train --schedule c", ["cosine", "constant"])],
)
def test_the_shell_completes_names(words: str, expected: list[str]) -> None:
    environment = {**os.environ, "_GRNG_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "3"}
    command = [sys.executable, "-m", "grng_cli"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert [line for line in ran.stdout.splitlines() if line] == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_can_be_shown(shell: str) -> None:
    # Typer's own switch: the shell is named here instead of being found out from the parent process.
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "grng_cli", "--show-completion", shell]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "_GRNG_COMPLETE=complete_" in ran.stdout
    assert "grng" in ran.stdout.split("_GRNG_COMPLETE")[0]


def test_the_shell_completes_the_last_optimizer_of_a_list() -> None:
    from grng_cli.options.common import complete_optimizers

    assert complete_optimizers("adamw,r") == ["adamw,ring", "adamw,reng", "adamw,r-kalman"]
    assert complete_optimizers("sop") == ["sophia-g", "sophia-h"]
