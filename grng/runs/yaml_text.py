"""YAML as configs need it: the core schema of YAML 1.2, no tags, no aliases, no duplicate keys, and every key's line.

PyYAML's own loader reads `1e-3` as text, `no` as false and `1:30` as 90; tags build Python objects; aliases can make a
small file huge. None of that belongs in a config.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from grng.errors import ConfigError, GrngError

Key = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))
_CORE = (
    (_NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    (_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    (_INT, re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    (
        _FLOAT,
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+.0123456789"),
    ),
)


class _Loader(yaml.SafeLoader):
    """Composes nodes with the core schema's scalars; it never constructs anything."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute; a fresh one, not the parent's


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would take for something else."""


for _tag, _pattern, _first in _CORE:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


@dataclass
class Document:
    """A YAML mapping with the line of each of its keys.

    Args:
        values: The mapping.
        lines: For every key and list item, by its path from the root, its line, counted from 1.
    """

    values: dict[str, Any]
    lines: dict[Key, int] = field(default_factory=dict)


def read_document(path: Path) -> Document:
    """Read the mapping in the YAML file `path`.

    Raises:
        ConfigError: If it cannot be read or is no such file; with all problems that are not in the way of others.
    """
    text = _read_text(path)
    _refuse(_events(text, str(path)))
    root = yaml.compose(text, Loader=_Loader)
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == _NULL):
        raise ConfigError([GrngError("the file is empty.", where=str(path), hint="Write keys like `optimizer: ring`.")])
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        message = f"the file must be a mapping of keys to values, not {found}."
        raise ConfigError(
            [GrngError(message, where=f"{path}:{_line(root)}", hint="Write keys like `optimizer: ring`.")]
        )
    document = Document({})
    problems: list[GrngError] = []
    document.values = _construct(root, (), str(path), document.lines, problems)
    _refuse(problems)
    return document


def parse_value(text: str) -> Any:
    """Return the value of `text` as given on the command line: a number, true, null, a list in brackets, or the text.

    Raises:
        GrngError: If it starts like a list, a mapping or a quoted text and is none.
    """
    text = text.strip()
    if not text.startswith(("[", "{", '"', "'")):
        tag = next((tag for tag, pattern, _ in _CORE if pattern.match(text)), "")
        try:
            return _scalar(tag, text)
        except ValueError:
            raise GrngError("the number is too long.") from None
    problems = _events(text, "")
    root = None if problems else yaml.compose(text, Loader=_Loader)
    value = None if root is None else _construct(root, (), "", {}, problems)
    if problems:
        raise GrngError(problems[0].message)
    return value


def dump(values: dict[str, Any]) -> str:
    """Return YAML text that `read_document` reads as `values`."""
    # PyYAML writes some line separators (U+0085) as they are and then reads them as line ends: escape everything then.
    printable = json.dumps(values, ensure_ascii=False).isprintable()
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=printable, width=120)


def _read_text(path: Path) -> str:
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([GrngError("there is no such file.", where=where)]) from None
    except IsADirectoryError:
        raise ConfigError([GrngError("is a directory, not a config file.", where=where)]) from None
    except OSError as error:
        raise ConfigError([GrngError(f"cannot be read: {error.strerror}.", where=where)]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([GrngError("the file is larger than 1 MiB, too large for a config.", where=where)])
    try:
        text = data.decode("utf-8-sig")
        yaml.reader.Reader(text)
    except (UnicodeDecodeError, yaml.reader.ReaderError):
        raise ConfigError([GrngError("the file is not text in UTF-8, so it is no config.", where=where)]) from None
    return text


def _events(text: str, path: str) -> list[GrngError]:
    """Return what is wrong with the text before it is a tree: syntax, tags, aliases, depth."""
    problems: list[GrngError] = []
    depth = documents = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            where = f"{path}:{event.start_mark.line + 1 if event.start_mark else 1}"
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                return [*problems, GrngError("the file holds a second document; one is allowed.", where=where)]
            if depth > MAX_DEPTH:
                return [*problems, GrngError(f"is nested more than {MAX_DEPTH} levels deep.", where=where)]
            if isinstance(event, yaml.AliasEvent):
                message = f"aliases (*{event.anchor}) are not allowed in configs."
                problems.append(GrngError(message, where=where, hint="Write the value out."))
            elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
                tag = event.tag.replace("tag:yaml.org,2002:", "!!")
                message = f"tags ({tag}) are not allowed in configs."
                problems.append(GrngError(message, where=where, hint="Write the value without it."))
    except yaml.reader.ReaderError:
        problems.append(GrngError("holds a character that YAML does not allow.", where=path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problems.append(GrngError(f"is not valid YAML: {error.problem or error.context}.", where=f"{path}{line}"))
    return problems


def _construct(node: yaml.Node, key: Key, path: str, lines: dict[Key, int], problems: list[GrngError]) -> Any:
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            where = f"{path}:{_line(name_node)}"
            if not isinstance(name_node, yaml.ScalarNode) or not name_node.tag.endswith(":str"):
                shown = name_node.value if isinstance(name_node, yaml.ScalarNode) else "a list or mapping"
                problems.append(GrngError(f"keys must be text, not {shown}.", where=where))
                continue
            name = name_node.value
            if name in values:
                first = lines[(*key, name)]
                message = f"the key {name!r} is given twice, first in line {first}."
                problems.append(GrngError(message, where=where))
                continue
            lines[(*key, name)] = _line(name_node)
            values[name] = _construct(value_node, (*key, name), path, lines, problems)
        return values
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            lines[(*key, index)] = _line(item)
            items.append(_construct(item, (*key, index), path, lines, problems))
        return items
    try:
        return _scalar(node.tag, node.value)
    except ValueError:
        problems.append(GrngError("the number is too long.", where=f"{path}:{_line(node)}"))
        return None


def _scalar(tag: str, text: str) -> Any:
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return text.casefold() == "true"
    if tag == _INT:
        bases = {"0o": 8, "0x": 16}
        return int(text, bases.get(text[:2], 10))
    if tag == _FLOAT:
        return float(text.casefold().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _refuse(problems: list[GrngError]) -> None:
    if problems:
        raise ConfigError(problems)
