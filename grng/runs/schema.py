"""The kinds of sections and values that a configuration is made of."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

MAX_SEED = 2**63 - 1
MAX_LABEL_LENGTH = 200

Key = tuple[str | int, ...]
Locate = Callable[[Key], str]


def absolute(path: Path) -> Path:
    """Return the path from the root, so that a written config means the same place wherever it is used; links stay."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - Path.resolve would follow links


class Section(BaseModel):
    """A part of a configuration: unknown keys are refused, values are never converted, instances are immutable.

    `alternatives` names groups of keys that exclude each other; a stronger source that sets one of them replaces the
    others of weaker sources. `shorthand` is the key that a bare value in the section's place sets.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    alternatives: ClassVar[tuple[frozenset[str], ...]] = ()
    shorthand: ClassVar[str | None] = None


def string_or_section(core: CoreSchema, handler: GetJsonSchemaHandler, description: str) -> JsonSchemaValue:
    """Return the JSON schema of a section that a bare string abbreviates, for `__get_pydantic_json_schema__`."""
    reference = handler(core)
    schema = handler.resolve_ref_schema(reference)
    full = dict(schema)
    schema.clear()
    schema.update({"anyOf": [{"type": "string", "description": description}, full]})
    return reference


class NamedSection(Section):
    """A section that a bare string abbreviates: `model: test_vit` is `model: {name: test_vit}`.

    A stronger source that gives another name replaces the whole section: the other keys belong to the name that they
    were written for.
    """

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return string_or_section(core, handler, "The name.")


def _plain(value: Any) -> Any:
    """Return `value` as JSON would return it (tuples become lists); refuse numbers that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "must be a finite number, not {value}", {"value": str(value)})
    if isinstance(value, str) and value.strip().lstrip("+-.").casefold() in {"nan", "inf", "infinity"}:
        raise PydanticCustomError("finite_number", "must be a finite number, not {value}", {"value": value.strip()})
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _label(value: str) -> str:
    if "/" in value or "\\" in value:
        raise PydanticCustomError("label", "must not contain a path separator (/ or \\)")
    return _printable(value)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("label", "must not contain control characters, line breaks or invisible characters")
    return value


def _path(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or not value.isprintable()):
        raise PydanticCustomError("output", "must be a path, neither empty nor with control characters")
    return value


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_LABEL_LENGTH, strip_whitespace=True),
    AfterValidator(_label),
]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Plain = Annotated[JsonValue, BeforeValidator(_plain)]
OutputPath = Annotated[Path, Field(strict=False), BeforeValidator(_path)]
InputPath = Annotated[Path, Field(strict=False), BeforeValidator(_path)]
