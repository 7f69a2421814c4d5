"""An optimizer as a comparison names it: `ring`, or `ring[rho=0.1,damping=0.01]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grng.errors import GrngError

WHERE = "--optimizers"

_PAIRS = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True)
class OptimizerSpec:
    """One row of a comparison.

    Args:
        label: Its name in tables and its directory.
        name: The optimizer.
        hyperparameters: Those given; the others keep their defaults.
    """

    label: str
    name: str
    hyperparameters: dict[str, Any]


def parse_specs(text: str, *, where: str = WHERE) -> list[OptimizerSpec]:
    """Parse `adamw,ring,ring[rho=0,damping=0.1]`.

    Raises:
        GrngError: The text is not such a list.
    """
    return [parse_spec(part, where=where) for part in split_outside_brackets(text, where=where)]


def parse_spec(text: str, *, where: str = WHERE) -> OptimizerSpec:
    """Parse one `name` or `name[key=value,key=value]`; values are read as in YAML.

    Raises:
        GrngError: The text has another form.
    """
    from grng.runs.yaml_text import parse_value

    text = text.strip()
    if len(split_outside_brackets(text, where=where)) > 1:
        raise GrngError(f"{text!r} names more than one optimizer", where=where, hint=_FORM)
    name, bracket, rest = text.partition("[")
    name = name.strip()
    if not name:
        raise GrngError(f"an optimizer's name is missing in {text!r}", where=where, hint=_FORM)
    if not bracket:
        return OptimizerSpec(name, name, {})
    if rest.strip() == "]":
        raise GrngError(f"the brackets of {text!r} are empty", where=where, hint=_FORM)
    if not rest.endswith("]"):
        raise GrngError(f"there is more after the closing bracket of {text!r}", where=where, hint=_FORM)
    given: dict[str, Any] = {}
    written = []
    for item in split_outside_brackets(rest[:-1], where=where):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not key or not value:
            raise GrngError(f"{item.strip()!r} in {text!r} is not of the form key=value", where=where, hint=_FORM)
        if key in given:
            raise GrngError(f"{key!r} is given twice in {text!r}", where=where)
        given[key] = parse_value(value)
        written.append(f"{key}={''.join(value.split())}")
    return OptimizerSpec(f"{name}[{','.join(written)}]", name, given)


def make_label(name: str, hyperparameters: Mapping[str, Any]) -> str:
    """Return the label of an optimizer whose hyperparameters were not written in brackets: as if they had been."""
    given = ",".join(f"{key}={_written(value)}" for key, value in hyperparameters.items())
    return f"{name}[{given}]" if given else name


def _written(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    return str(value)


def split_outside_brackets(text: str, *, where: str = WHERE) -> list[str]:
    """Split `text` at the commas that no bracket encloses.

    Raises:
        GrngError: A bracket is not closed or not opened, or nothing stands between two commas.
    """
    parts = [""]
    for character, depth in _with_depth(text, where):
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if not all(part.strip() for part in parts):
        raise GrngError(f"an item is empty in {text!r}", where=where, hint=_FORM)
    return parts


def _with_depth(text: str, where: str) -> Iterator[tuple[str, int]]:
    """Yield each character with the number of brackets around it."""
    expected: list[str] = []
    for character in text:
        if character in _PAIRS:
            expected.append(_PAIRS[character])
        elif character in _PAIRS.values() and (not expected or expected.pop() != character):
            raise GrngError(f"the bracket {character!r} does not match in {text!r}", where=where, hint=_FORM)
        yield character, len(expected)
    if expected:
        raise GrngError(f"a bracket is not closed in {text!r}; {expected[-1]!r} is missing", where=where, hint=_FORM)


_FORM = "Write name or name[key=value,key=value], for example ring[rho=0.1,damping=0.01]."
