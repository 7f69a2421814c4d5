"""One table from what pydantic reports to what a user reads: what is wrong, what is allowed, which key is near."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from grng.errors import GrngError, suggest

Key = tuple[str | int, ...]

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "greater than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def problem(error: ErrorDetails, kind: type[BaseModel], locate: Callable[[Key], str]) -> GrngError:
    """Return the user's message for one of pydantic's errors about a `kind`.

    Args:
        error: One of `ValidationError.errors()`.
        kind: The model that was validated, whose keys are suggested.
        locate: Where a key was given.
    """
    key: Key = tuple(error["loc"])
    extra = error.get("ctx", {}).get("key")
    if extra is not None:
        key = (*key, extra)
    message, hint = _wording(error, key, kind)
    return GrngError(message, where=locate(key) or None, hint=hint)


def _wording(error: ErrorDetails, key: Key, kind: type[BaseModel]) -> tuple[str, str | None]:
    what, context, given = error["type"], error.get("ctx", {}), show(error.get("input"))
    if what == "extra_forbidden":
        return f"unknown key {str(key[-1])!r}.", _near_key(str(key[-1]), key[:-1], kind)
    if what == "missing":
        return "is missing.", None
    if what in _TYPES:
        return f"must be {_TYPES[what]}, not {given}.", None
    if what in _BOUNDS:
        bound, words = _BOUNDS[what]
        limit = context[bound]
        return f"must be {words} {f'{limit:g}' if isinstance(limit, float) else limit}, not {given}.", None
    if what == "finite_number":
        return f"must be a finite number, not {context.get('value', given)}.", None
    if what == "literal_error":
        expected = str(context["expected"])
        near = suggest(str(error["input"]), re.findall(r"'([^']*)'", expected))
        return f"must be {expected}, not {given.removeprefix('the text ')}.", near
    if what == "string_too_short":
        return "must not be empty.", None
    if what == "string_too_long":
        return f"must have at most {context['max_length']} characters.", None
    if what == "value_error":
        return f"{context['error']}".rstrip(".") + ".", None
    return error["msg"].rstrip(".") + ".", None


def show(value: Any) -> str:
    """Return `value` as its writer would recognise it in YAML, shortened."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:40] + '…'!r}"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return str(value)


def _near_key(name: str, parent: Key, kind: type[BaseModel]) -> str | None:
    """Return a hint for the unknown key `name`: a near key of its section, its place in another one, or all keys."""
    section = _section(kind, parent)
    here = list(section.model_fields) if section else []
    near = suggest(name, here)
    if near:
        return near
    elsewhere = [".".join((*above, name)) for above, other in _sections(kind) if name in other.model_fields]
    if elsewhere:
        return f"Did you mean {' or '.join(repr(place) for place in elsewhere)}?"
    return f"Allowed: {', '.join(here)}." if here else None


def _section(kind: type[BaseModel], key: Key) -> type[BaseModel] | None:
    """Return the model that validates what is at `key` of a `kind`."""
    found: type[BaseModel] | None = kind
    for name in key:
        if isinstance(name, int) or found is None:
            continue
        field = found.model_fields.get(name)
        found = next(_models(field.annotation), None) if field else None
    return found


def _sections(kind: type[BaseModel]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    for name, field in kind.model_fields.items():
        for section in _models(field.annotation):
            yield (name,), section
            for above, deeper in _sections(section):
                yield (name, *above), deeper


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation such as `X`, `X | None` or `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
