"""What a hyperparameter may be in a search, and the text that says so.

    dimension := "log" "(" number "," number ")"       a number, uniform on a logarithmic scale
               | "uniform" "(" number "," number ")"   a number
               | "int" "(" whole "," whole ")"         a whole number, both ends included
               | "logint" "(" whole "," whole ")"      likewise, uniform on a logarithmic scale
               | "choice" "(" value ("," value)* ")"   one of these; values as in YAML

A list is a choice, too. Nothing is evaluated: what is not of this form is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grng.errors import GrngError, suggest
from grng.experiments.specs import split_outside_brackets
from grng.runs.yaml_text import parse_value

DIGITS = 4
"""Significant digits of the numbers that are tried, so that a configuration can be read and typed."""

MAX_LENGTH = 2000
"""Characters of an expression."""

FORM = "Write log(1e-4, 1e-1), uniform(0.8, 0.99), int(5, 50), logint(1, 1000) or choice(rms, none)."

_CALL = re.compile(r"([A-Za-z_]+)\s*\((.*)\)", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_KINDS = ("log", "uniform", "int", "logint", "choice")


@dataclass(frozen=True, slots=True)
class Real:
    """A number between two others.

    Args:
        low: The smallest.
        high: The largest.
        log: Whether it is uniform on a logarithmic scale.
    """

    low: float
    high: float
    log: bool

    def at(self, unit: float) -> float:
        """Return the value at the share `unit` in [0, 1) of the range, on its scale."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        value = low + unit * (high - low)
        return self.rounded(math.exp(value) if self.log else value)

    def rounded(self, value: float) -> float:
        """Return `value` with `DIGITS` significant digits, within the range."""
        return min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))

    def position(self, value: float) -> float:
        """Return where `value` lies in the range, on its scale: 0 at the low end, 1 at the high one."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def samples(self) -> list[Any]:
        """Return both ends and something between them: what a check of the range has to look at."""
        return [self.low, self.high, self.at(0.371)]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def __str__(self) -> str:
        return f"{'log' if self.log else 'uniform'}({self.low:g}, {self.high:g})"


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between two others, both included.

    Args:
        low: The smallest.
        high: The largest.
        log: Whether it is uniform on a logarithmic scale.
    """

    low: int
    high: int
    log: bool

    def at(self, unit: float) -> int:
        """Return the value at the share `unit` in [0, 1) of the range, on its scale; every value has its share."""
        low, high = self._scaled(self.low - 0.5), self._scaled(self.high + 0.5)
        value = low + unit * (high - low)
        return self.rounded(math.exp(value) if self.log else value)

    def rounded(self, value: float) -> int:
        """Return the whole number nearest to `value` within the range."""
        return min(self.high, max(self.low, math.floor(value + 0.5)))

    def position(self, value: float) -> float:
        """Return where `value` lies in the range, on its scale: 0 at the low end, 1 at the high one."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def samples(self) -> list[Any]:
        """Return both ends."""
        return [self.low, self.high]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def __str__(self) -> str:
        return f"{'logint' if self.log else 'int'}({self.low}, {self.high})"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, which need no order.

    Args:
        values: The values.
    """

    values: tuple[Any, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as text, each its own."""
        return tuple(map(written, self.values))

    def at(self, unit: float) -> Any:
        """Return the value at the share `unit` in [0, 1)."""
        return self.values[min(len(self.values) - 1, int(unit * len(self.values)))]

    def samples(self) -> list[Any]:
        """Return the values."""
        return list(self.values)

    def __str__(self) -> str:
        return f"choice({', '.join(self.texts)})"


Dimension = Real | Whole | Choice


def parse(value: Any, *, where: str) -> Dimension:
    """Return the dimension that a text, or a list of values, describes.

    Args:
        value: As given by the user.
        where: The place of it, for messages.

    Raises:
        GrngError: It has another form, or describes nothing.
    """
    if isinstance(value, list):
        return _choice(value, where)
    if not isinstance(value, str):
        raise GrngError(
            f"must be an expression, not {written(value)}.",
            where=where,
            hint=f"{FORM} A single value is given as a hyperparameter: --opt NAME={written(value)}.",
        )
    text = value.strip()
    if len(text) > MAX_LENGTH:
        raise GrngError(f"is longer than {MAX_LENGTH} characters.", where=where, hint=FORM)
    call = _CALL.fullmatch(text)
    if call is None:
        raise GrngError(f"{_shown(text)} is no expression for a search.", where=where, hint=FORM)
    kind, inner = call[1], call[2].strip()
    if kind not in _KINDS:
        hint = suggest(kind, _KINDS)
        raise GrngError(f"{_shown(kind)} is no kind of range.", where=where, hint=f"{hint} {FORM}" if hint else FORM)
    arguments = _split(inner, where)
    if kind == "choice":
        return _choice([_value(argument, where) for argument in arguments], where)
    if len(arguments) != 2:
        raise GrngError(f"{kind} needs two bounds, not {len(arguments)}: {_shown(text)}.", where=where, hint=FORM)
    low, high = (_number(argument, where) for argument in arguments)
    if kind in ("log", "logint") and low <= 0:
        other = "uniform" if kind == "log" else "int"
        hint = f"Give a lower bound above 0, or write {other}({arguments[0]}, {arguments[1]})."
        raise GrngError(f"a logarithmic scale has no {arguments[0]}: {_shown(text)}.", where=where, hint=hint)
    if not low < high:
        raise GrngError(
            f"the lower bound {arguments[0]} is not below the upper one, {arguments[1]}.", where=where, hint=FORM
        )
    if kind in ("log", "uniform"):
        return Real(low, high, log=kind == "log")
    for bound, argument in ((low, arguments[0]), (high, arguments[1])):
        if bound != int(bound):
            raise GrngError(f"{kind} needs whole numbers, not {argument}.", where=where, hint=FORM)
    return Whole(int(low), int(high), log=kind == "logint")


def written(value: Any) -> str:
    """Return a value as one writes it in an expression: `true`, `null`, `[0.9, 0.99]`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _choice(values: Sequence[Any], where: str) -> Choice:
    if not values:
        raise GrngError("a choice needs values.", where=where, hint="Write choice(rms, none).")
    if any(isinstance(value, dict) for value in values):
        raise GrngError("a mapping cannot be chosen.", where=where, hint=FORM)
    choice = Choice(tuple(values))
    for text in choice.texts:
        if choice.texts.count(text) > 1:
            raise GrngError(f"{text} is there twice.", where=where, hint="Write every value once.")
    return choice


def _split(inner: str, where: str) -> list[str]:
    if not inner:
        return []
    try:
        return [part.strip() for part in split_outside_brackets(inner, where=where)]
    except GrngError as error:
        raise GrngError(error.message, where=where, hint=FORM) from None


def _value(text: str, where: str) -> Any:
    try:
        return parse_value(text)
    except GrngError as error:
        raise GrngError(error.message, where=where, hint=FORM) from None


def _number(text: str, where: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise GrngError(f"{_shown(text)} is no finite number.", where=where, hint=FORM)
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
