"""Command lines of the documentation, checked against what they call; nothing is run."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import PurePath
from typing import Any

import typer

from grng.experiments.compare_config import CompareConfig
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.workloads.sources import settle_workloads
from grng.runs.config import RunConfig
from grng.runs.loading import load_config
from grng.runs.shipped import find_config
from grng.runs.sources import Source
from grng_cli.main import app
from tests.docs.pages import ROOT

KINDS: dict[str, Any] = {"train": RunConfig, "compare": CompareConfig, "sweep": SweepConfig}
PACKAGES = ("scripts", "benchmarks", "tests")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

_KEYWORDS = ("do", "then", "else", "if", "while", "!")
_ASSIGNMENT = re.compile(r"^\w+=")


def command_lines(script: str) -> Iterator[list[str]]:
    """Yield the words of every command in a shell script, those within `$(…)` as well."""
    for line in script.replace("\\\n", " ").splitlines():
        for inner in re.findall(r"\$\(([^()]*)\)", line):
            yield from command_lines(inner)
        try:
            yield from _commands(re.sub(r"\$\([^()]*\)", "value", line))
        except ValueError:  # quotes that only a shell takes apart
            for part in re.findall(r"\bgrng [^;&|'\"]*", line):
                yield part.split()


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the words of every command in a line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in [*lexer, ";"]:
        if set(word) <= set("();&|"):
            yield from _command(words)
            words = []
        elif set(word) <= set("<>"):
            redirected = True
        elif redirected:
            redirected = False
        else:
            words.append(word)


def _command(words: list[str]) -> Iterator[list[str]]:
    while words and (words[0] in _KEYWORDS or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    if not words:
        return
    yield words
    for place, word in enumerate(words[1:], 1):  # what other programs are to run
        if word.startswith("grng "):
            yield from command_lines(word)
        elif word == "grng" and words[place - 1] == "--":
            yield words[place:]


def check(words: Sequence[str]) -> None:
    """Check one command: its subcommand, options and values, the files and configs that it names.

    Raises:
        Exception: Something is not as the program has it; whatever the program itself raises.
    """
    program, arguments = PurePath(words[0]).name, list(words[1:])
    if program == "grng":
        check_grng(arguments)
    elif program in ("python", "python3", "torchrun"):
        _check_python(arguments)
    elif program == "pip":
        _check_pip(arguments)


@cache
def _root() -> Any:
    return typer.main.get_command(app)


def check_grng(arguments: Sequence[str]) -> None:
    """Parse the arguments of `grng` with the commands themselves."""
    command = _root()
    rest = list(arguments)
    path: list[str] = []
    while rest and not rest[0].startswith("-") and getattr(command, "commands", None):
        assert rest[0] in command.commands, f"grng {' '.join(path)} has no command {rest[0]!r}"
        path.append(rest.pop(0))
        command = command.commands[path[-1]]
    try:
        context = command.make_context("grng", rest)
    except typer.Exit:
        return  # --help, --version
    given = context.params
    names = [name for key in ("config", "names", "name", "sweep_config") for name in _names(given.get(key))]
    shipped = []
    if path[0] in (*KINDS, "config"):
        for name in names:
            if not name.endswith((".yaml", ".yml")) and name not in ("value", "FILE", "NAME") and "$" not in name:
                shipped.append(find_config(name))
    if path[0] in KINDS and given.get("set_"):
        load_config(KINDS[path[0]], files=shipped, sets=given["set_"], adjust=_settled)


def _settled(source: Source) -> None:
    if "workloads" in source.values:
        settle_workloads(source)


def _names(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(one) for one in value]


def _check_python(arguments: list[str]) -> None:
    while arguments and arguments[0] not in ("-m", "-c") and not arguments[0].endswith(".py"):
        arguments = arguments[2:] if arguments[0] == "--nproc-per-node" else arguments[1:]  # torchrun's
    if not arguments or arguments[0] == "-c":
        return
    if arguments[0] != "-m":
        _check_script(arguments[0], arguments[1:])
    elif arguments[1] == "grng_cli":
        check_grng(arguments[2:])
    elif arguments[1].partition(".")[0] in PACKAGES:
        path = ROOT / arguments[1].replace(".", "/")
        script = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        _check_script(str(script.relative_to(ROOT)), arguments[2:])


def _check_script(name: str, arguments: list[str]) -> None:
    """A script of the repository is there, and it or what it shares with its neighbours knows the options."""
    if name.partition("/")[0] not in PACKAGES:
        return  # the reader's own
    script = ROOT / name
    assert script.is_file(), f"{name} is not there"
    known = "\n".join(path.read_text(encoding="utf-8") for path in script.parent.glob("*.py"))
    for option in arguments:
        if option.startswith("--"):
            assert f'"{option.partition("=")[0]}"' in known, f"{name} has no option {option}"


def _check_pip(arguments: list[str]) -> None:
    for extras in re.findall(r"(?:^|\s)(?:grng|\.)\[([\w,]+)\]", " ".join(arguments)):
        for extra in extras.split(","):
            assert extra in EXTRAS, f"there is no extra {extra}"
