"""Whether a value is what a hyperparameter's annotation asks for, and how to say so."""

from __future__ import annotations

import math
import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from grng.errors import HyperparameterError, suggest

if TYPE_CHECKING:
    from grng.optim.hyperparameters import Hyperparameter


def type_text(annotation: Any) -> str:
    """Return a type in words, e.g. "a number", "a whole number or none", "one of a, b", "a pair of numbers"."""
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join("none" if part is type(None) else type_text(part) for part in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "a pair of numbers"
    return {float: "a number", int: "a whole number", bool: "true or false"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def _refuse(known: Hyperparameter, value: Any) -> HyperparameterError:
    bounds = known.meaning.range_text()
    allowed = known.type_text + (f", {bounds}" if bounds else "")
    return HyperparameterError(f"must be {allowed}; got {value!r}.", where=known.name)


def checked_value(known: Hyperparameter, annotation: Any, value: Any) -> Any:
    """Return `value` as the annotation's type, or raise HyperparameterError: wrong type, out of range, not finite."""
    origin = get_origin(annotation)
    if origin is Literal:
        if value not in get_args(annotation):
            error = _refuse(known, value)
            error.hint = suggest(str(value), [str(choice) for choice in get_args(annotation)])
            raise error
        return value
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        return checked_value(known, next(part for part in get_args(annotation) if part is not type(None)), value)
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(get_args(annotation)):
            raise _refuse(known, value)
        return tuple(checked_value(known, part, entry) for part, entry in zip(get_args(annotation), value, strict=True))
    if annotation is bool:
        if not isinstance(value, bool):
            raise _refuse(known, value)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refuse(known, value)
    if annotation is int and (not math.isfinite(value) or value != int(value)):
        raise _refuse(known, value)
    if not math.isfinite(value) or not known.meaning.allows(value):
        raise _refuse(known, value)
    return int(value) if annotation is int else float(value)
