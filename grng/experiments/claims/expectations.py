"""`--expect 'ring.test_accuracy > adamw.test_accuracy - 0.02'`: what a comparison is expected to show, checked by rule.

The names are those of the table's rows and of the fields in `grng.report.row`; `expectation_grammar` has the rest.
Never reached is infinity; a value that is missing (all runs diverged, no second seed) makes an expectation not hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from grng.experiments.claims.grammar import COMPARISONS, Chain, Negation, Parser, Reference, Term
from grng.report.asked import diagnostic_of
from grng.report.checks import plural
from grng.report.columns import number, runs
from grng.report.row import FIELDS, Row
from grng.report.tables import Table


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether an expectation holds.

    Attributes:
        text: The expectation as it was given.
        holds: False also when a value is missing.
        values: What was measured, by reference, as `ring.test_accuracy`; None where there is no value.
        explanation: The measured values and the comparison, or why it cannot be made; one line.
    """

    text: str
    holds: bool
    values: Mapping[str, float | None]
    explanation: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """A parsed expectation; made by `parse`."""

    text: str
    left: Term
    comparison: str
    right: Term

    @property
    def references(self) -> list[Reference]:
        """The fields that it names, in order, each once."""
        return list(dict.fromkeys([*_references(self.left), *_references(self.right)]))

    def evaluate(self, table: Table) -> Outcome:
        """Hold the expectation against what was measured."""
        rows = {row.label: row for row in table.rows}
        values: dict[Reference, float] = {}
        missing: list[str] = []
        for reference in self.references:
            value = rows[reference.label].numbers[reference.field] if reference.label in rows else None
            if value is None or math.isnan(value):
                missing.append(f"{reference} has no value{_why_missing(reference, rows.get(reference.label))}")
            else:
                values[reference] = float(value)
        named = {str(reference): values.get(reference) for reference in self.references}
        said = [", ".join(f"{reference} = {number(value, 4)}" for reference, value in values.items())]
        if missing:
            return Outcome(self.text, False, named, _line(said + missing))
        left, right = _value(self.left, values), _value(self.right, values)
        if math.isnan(left) or math.isnan(right):
            return Outcome(self.text, False, named, _line([*said, "not defined: infinity less infinity, or times 0"]))
        holds = COMPARISONS[self.comparison](left, right)
        said.append(
            f"{_shown(left, right)} {self.comparison} {_shown(right, left)} {'holds' if holds else 'does not hold'}"
        )
        asides = [_aside(rows[label]) for label in dict.fromkeys(reference.label for reference in values)]
        return Outcome(self.text, holds, named, _line(said + asides))


def parse(text: str, labels: Sequence[str], fields: Iterable[str] = FIELDS) -> Expectation:
    """Parse an expectation.

    Args:
        text: As given by the user.
        labels: The names of all rows.
        fields: The names of a row's fields.

    Raises:
        GrngError: It does not parse, or names an unknown row or field; the message shows where.
    """
    return Expectation(text, *Parser(text, labels, tuple(fields)).comparison())


def _references(term: Term) -> Iterator[Reference]:
    if isinstance(term, Reference):
        yield term
    elif isinstance(term, Chain):
        yield from _references(term.first)
        for _, following in term.rest:
            yield from _references(following)
    elif isinstance(term, Negation):
        yield from _references(term.of)


def _value(term: Term, values: Mapping[Reference, float]) -> float:
    if isinstance(term, Reference):
        return values[term]
    if isinstance(term, Negation):
        return -_value(term.of, values)
    if isinstance(term, Chain):
        result = _value(term.first, values)
        for apply, following in term.rest:
            result = apply(result, _value(following, values))
        return result
    return term


def _line(parts: Iterable[str]) -> str:
    return "; ".join(part for part in parts if part)


def _shown(value: float, other: float) -> str:
    """Return `value` with as many digits as it takes to tell it from `other`."""
    for digits in range(4, 17):
        if value == other or number(value, digits) != number(other, digits):
            return number(value, digits)
    return repr(value)


def _why_missing(reference: Reference, row: Row | None) -> str:
    if row is None:
        return ": the table has no such row"
    if row.n == 0:
        return f": no run of {row.label} finished ({runs(row)})"
    if row.is_reference and reference.field.startswith(("difference", "p_", "effect_", "win_")):
        return f": {row.label} is the reference"
    if reference.field.startswith("p_equivalence"):
        return ": it takes a --margin, and two seeds"
    diagnostic = diagnostic_of(reference.field)
    if diagnostic is not None and row.numbers[diagnostic] is None:
        return f": it takes runs with --diagnostics {diagnostic}"
    if reference.field.endswith(("_low", "_high")):
        return ": a single run has no interval, and a value that is missing none"
    return ""


def _aside(row: Row) -> str:
    """Say when a row's means leave out runs: an expectation may then hold for the wrong reason."""
    lost = [f"{count} {what}" for what, count in (("diverged", row.diverged), ("failed", row.failed)) if count]
    return f"{row.label}: over {plural(row.n, 'run')} that finished, {' and '.join(lost)}" if lost else ""
