"""The grammar of `--expect`, and its parser. No more than comparisons of sums and products, on purpose.

    comparison := sum ("<" | "<=" | ">" | ">=") sum
    sum        := product (("+" | "-") product)*
    product    := factor (("*" | "×") factor)*
    factor     := "-" factor | "(" sum ")" | number | label "." field

A label is any row's name as it stands, brackets, commas, hyphens and spaces included: names are looked up, the longest
first, before anything else is read, so that `r-kalman` is no subtraction.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from grng.errors import GrngError, suggest
from grng.report.checks import few

WHERE = "--expect"
MAX_DEPTH = 50
"""Parentheses and minus signs within each other; more is a mistake, and would exhaust Python's stack at last."""
MAX_LENGTH = 5000
"""Characters of an expectation."""

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_OPERATIONS: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "×": operator.mul,
}
_FORM = "Write it like 'ring.test_accuracy > adamw.test_accuracy - 0.02'."
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FIELD = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)")
_LIKE_A_REFERENCE = re.compile(r"([^\s()<>+*×\[\]]*(?:\[[^\]]*\])?[^\s()<>+*×\[\]]*?)\.([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Reference:
    """A field of a row."""

    label: str
    field: str

    def __str__(self) -> str:
        return f"{self.label}.{self.field}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Operations of one rank from left to right: `first - a + b`. Flat, so that a long sum is not a deep one."""

    first: Term
    rest: tuple[tuple[Callable[[float, float], float], Term], ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """Minus something."""

    of: Term


Term = float | Reference | Chain | Negation


class Parser:
    """Recursive descent over one expectation; `at` is the next character to read.

    Args:
        text: As given by the user.
        labels: The names of all rows.
        fields: The names of a row's fields.
        where: Where the text was given, for messages.
    """

    form = _FORM
    several = "Give --expect several times."

    def __init__(self, text: str, labels: Sequence[str], fields: Sequence[str], *, where: str = WHERE) -> None:
        self.text = text
        self.where = where
        self.labels = labels
        self.longest_first = sorted(labels, key=len, reverse=True)
        self.fields = fields
        self.at = 0
        self.depth = 0

    def comparison(self) -> tuple[Term, str, Term]:
        """Parse the whole text: left side, comparison sign, right side."""
        self.check_length()
        left = self.sum()
        comparison = self.take(*COMPARISONS)
        if comparison is None:
            raise self.error("expected one of < <= > >=", hint=self._comparison_hint())
        right = self.sum()
        self.end()
        return left, comparison, right

    def check_length(self) -> None:
        """Refuse a text that is too long to be meant."""
        if len(self.text) > MAX_LENGTH:
            raise GrngError(f"longer than {MAX_LENGTH} characters", where=self.where, hint=self.form)

    def end(self) -> None:
        """Refuse anything more."""
        if self.peek():
            again = self.take(*COMPARISONS)
            what = "only one comparison is possible" if again else "expected + - * or the end"
            raise self.error(what, hint=self.several if again else None, back=len(again or ""))

    def sum(self) -> Term:
        """Parse terms between + and -."""
        first, rest = self.product(), []
        while symbol := self.take("+", "-"):
            rest.append((_OPERATIONS[symbol], self.product()))
        return Chain(first, tuple(rest)) if rest else first

    def product(self) -> Term:
        """Parse factors between * and ×."""
        first, rest = self.factor(), []
        while symbol := self.take("*", "×"):
            rest.append((_OPERATIONS[symbol], self.factor()))
        return Chain(first, tuple(rest)) if rest else first

    def factor(self) -> Term:
        """Parse a number, a reference, or something in parentheses or after a minus sign."""
        if self.depth >= MAX_DEPTH:
            raise self.error("too many parentheses or minus signs within each other")
        self.depth += 1
        term = self._factor()
        self.depth -= 1
        return term

    def _factor(self) -> Term:
        self.peek()
        # Before all else: a label may begin with a digit, a minus or a parenthesis.
        reference = self.reference()
        if reference is not None:
            return reference
        if self.take("-"):
            return Negation(self.factor())
        if self.take("("):
            term = self.sum()
            if not self.take(")"):
                raise self.error("expected )")
            return term
        return self.number()

    def reference(self) -> Reference | None:
        """Parse a row's name, a dot and a field; None when no row's name comes next."""
        for label in self.longest_first:
            match = _FIELD.match(self.text, self.at + len(label)) if self.text.startswith(label, self.at) else None
            if match is None:
                continue
            if match[1] not in self.fields:
                hint = suggest(match[1], self.fields, otherwise=f"Fields are {', '.join(self.fields)}.")
                raise self.error(self.no_field(match[1]), hint=hint, back=-len(label) - 1)
            self.at = match.end()
            return Reference(label, match[1])
        return None

    def no_field(self, name: str) -> str:
        """Return what to say of a field that there is not."""
        return f"a row has no field {name!r}"

    def number(self) -> float:
        """Parse a number: what is left when nothing else fits, so that the errors for everything else are here too."""
        match = _NUMBER.match(self.text, self.at)
        # A letter right behind it makes it the beginning of a name that nobody knows.
        if match is not None and not re.match(r"[\w.:\[]", self.text[match.end() : match.end() + 1]):
            value = float(match[0])
            if math.isinf(value):
                raise self.error("the number is too large")
            self.at = match.end()
            return value
        unknown = _LIKE_A_REFERENCE.match(self.text, self.at)
        if unknown is not None and unknown[1]:
            known = few(self.labels, 12) or "none"
            hint = suggest(unknown[1], self.labels, otherwise=f"The rows are {known}.")
            raise self.error(f"there is no row {unknown[1]!r}", hint=hint)
        lone = next((label for label in self.longest_first if self.text.startswith(label, self.at)), None)
        if lone:
            raise self.error(f"a field is missing after {lone!r}", hint=self.form, back=-len(lone))
        raise self.error("expected a row's field, a number or (", hint=self.form)

    def peek(self) -> str:
        """Go past blanks and return the next character, "" at the end."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def take(self, *symbols: str) -> str | None:
        """Go past one of `symbols` and return it, None when none of them comes next."""
        self.peek()
        for symbol in symbols:
            if self.text.startswith(symbol, self.at):
                self.at += len(symbol)
                return symbol
        return None

    def _comparison_hint(self) -> str | None:
        following = self.peek()
        if following in ("=", "!"):
            return "Equality of measured numbers is chance; use <= or >=."
        if following == "/":
            return "There is no division; multiply the other side instead."
        return self.form

    def error(self, message: str, *, hint: str | None = None, back: int = 0) -> GrngError:
        """Return an error that shows the text with a caret below the place, `back` characters before the next one."""
        place = min(max(0, self.at - back), len(self.text))
        start = max(0, place - 60)
        shown = "".join(c if c.isprintable() else "�" for c in self.text[start : place + 60])
        found = "" if self.text.strip() else " (it is empty)"
        message = f"{message}{found}{self.place(place)}"
        return GrngError(f"{message}\n    {shown}\n    {' ' * (place - start)}^", where=self.where, hint=hint)

    def place(self, at: int) -> str:
        """Return what tells the place `at` besides the caret."""
        return ""
