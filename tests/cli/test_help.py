"""Every `--help`: it fits 80 columns, nothing of it is cut, options are in panels, and its examples are good."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from grng_cli.examples import EXAMPLES
from grng_cli.main import app
from tests.cli.conftest import call

ROOT: Any = typer.main.get_command(app)


def commands(group: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command and group with the words that call it."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ALL = dict(commands())
LEAVES = {path: command for path, command in ALL.items() if not hasattr(command, "commands")}


@functools.cache
def screen(path: tuple[str, ...]) -> str:
    """Return a help screen of 80 columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.delenv("FORCE_COLOR", raising=False)
        ran = call(*path, "--help")
    assert ran.code == 0
    return ran.out


def flat(text: str) -> str:
    return re.sub(r"[\s│]", "", text).replace("\\[", "[")


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_it_fits_and_nothing_of_it_is_cut(path: tuple[str, ...]) -> None:
    lines = screen(path).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if re.search(r"\S…\s*│$", line)] == [], "rich ends what it cuts with an ellipsis"
    for option in (one for one in ALL[path].params if one.param_type_name == "option"):
        assert set(option.opts) <= set(screen(path).replace(",", " ").split())


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_options_are_in_panels(path: tuple[str, ...]) -> None:
    options = [one for one in LEAVES[path].params if one.param_type_name == "option" and one.name != "help"]
    assert [one.name for one in options if not getattr(one, "rich_help_panel", None)] == []


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_its_examples_are_shown_and_can_be_typed(path: tuple[str, ...]) -> None:
    assert EXAMPLES[" ".join(path)]
    for line in (text.replace("\\[", "[") for text in EXAMPLES[" ".join(path)]):
        assert flat(line) in flat(screen(path))
        assert len(line) <= 78
        program, *arguments = shlex.split(re.sub(r" > \S+\.json$", "", line))
        assert program == "grng"
        assert tuple(arguments[: len(path)]) == path
        LEAVES[path].make_context(" ".join(path), arguments[len(path) :])


def test_every_example_has_a_command() -> None:
    assert set(EXAMPLES) == {" ".join(path) for path in LEAVES} | {""}
    for line in EXAMPLES[""]:
        _, *arguments = shlex.split(line)
        found = next(path for path in LEAVES if tuple(arguments[: len(path)]) == path)
        LEAVES[found].make_context("x", arguments[len(found) :])
