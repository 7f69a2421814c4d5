"""The page of the command line, from the commands themselves: what `grng COMMAND --help` says, as tables.

The docs site makes it at every build (scripts/docs_hooks.py); `python scripts/reference_cli.py` prints it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from reference_text import cell, escaped, table

HEAD = """# Command line

Made from the commands: `grng COMMAND --help` says the same. Whatever has no flag is set by `--set KEY=VALUE`, with the
keys of [the configuration](config.md).
"""

_TYPES = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def page() -> str:
    """Return the whole page as Markdown."""
    from grng_cli.main import app

    root = typer.main.get_command(app)
    commands = [text for path, command in _leaves(root, "grng") for text in _command(path, command)]
    return "\n".join([HEAD, *commands])


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands that do something, in the order of `--help`."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _leaves(child, f"{path} {name}")


def _command(path: str, command: Any) -> Iterator[str]:
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name != "argument"]
    usage = " ".join([path, *(["[OPTIONS]"] if options else []), *(_argument(one) for one in arguments)])
    yield f"## {path}\n"
    yield f"{escaped(_text(command.help))}\n"
    yield f"```text\n{usage}\n```\n"
    if arguments:
        yield table(["argument", "meaning"], [[f"`{_value(one)}`", cell(_text(one.help))] for one in arguments])
    panels: dict[str, list[Any]] = {}
    for option in options:
        panels.setdefault(option.rich_help_panel or "Options", []).append(option)
    for title, members in panels.items():
        if len(panels) > 1:
            yield f"### {title} of {path}\n"
        yield table(["option", "value", "meaning"], [_row(one) for one in members])


def _row(option: Any) -> list[str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f"`{_value(option)}`" + (", repeatable" if option.multiple else "")
    return [names, value, cell(_text(option.help))]


def _argument(argument: Any) -> str:
    value = _value(argument)
    many = argument.nargs == -1 and not value.endswith("…")
    value = f"{value}…" if many else value
    return value if argument.required else f"[{value}]"


def _value(parameter: Any) -> str:
    """Return what stands for a value: the metavar, the choices, or the kind."""
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor.annotation
    members = [kind, *getattr(kind, "__args__", ())]
    for member in members:
        if isinstance(member, type) and issubclass(member, enum.Enum):
            return "|".join(str(one.value) for one in member)
    return next((name for known, name in _TYPES.items() if known in members), "TEXT")


def _text(help_text: str | None) -> str:
    return (help_text or "").replace("\\[", "[")  # rich's own escape


if __name__ == "__main__":
    print(page())
