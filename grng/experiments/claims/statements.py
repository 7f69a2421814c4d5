"""Claims as text: `ring.steps_to_target < adamw.steps_to_target`; `claim_verdicts` holds them against the runs.

    claim := sum ("<" | "<=" | ">" | ">=") sum
           | sum "=" sum ("±" | "within") number

A sum is one of the grammar of `--expect` (`expectation_grammar`) in which fields are multiplied by numbers only. The
difference between the two: an expectation compares means, a claim is tested over seeds.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from grng.errors import ConfigError, GrngError
from grng.experiments.claims.config import ClaimConfig
from grng.experiments.claims.fields import CLAIM_FIELDS
from grng.experiments.claims.grammar import Chain, Negation, Parser, Reference, Term
from grng.runs.schema import Locate

WHERE = "--claim"
Comparison = Literal["<", "<=", ">", ">=", "="]


@dataclass(frozen=True, slots=True)
class Linear:
    """A sum of fields times numbers, and a number.

    Attributes:
        coefficients: By field; none is 0.
        constant: The number.
    """

    coefficients: Mapping[Reference, float]
    constant: float

    def plus(self, other: Linear, factor: float = 1.0) -> Linear:
        """Return this one and `factor` times the other."""
        sums = dict(self.coefficients)
        for reference, coefficient in other.coefficients.items():
            sums[reference] = sums.get(reference, 0.0) + factor * coefficient
        kept = {reference: coefficient for reference, coefficient in sums.items() if coefficient != 0}
        return Linear(kept, self.constant + factor * other.constant)

    def value(self, values: Mapping[Reference, float]) -> float:
        """Return the sum for these values of the fields."""
        return sum((c * values[reference] for reference, c in self.coefficients.items()), self.constant)


@dataclass(frozen=True, slots=True)
class Claim:
    """A parsed claim; made by `parse_claim`.

    Attributes:
        text: As it was given.
        name: How tables call it.
        left: Its left side.
        comparison: Its sign.
        right: Its right side.
        margin: For "=": the largest difference of the sides that does not matter, positive; else 0.
    """

    text: str
    name: str
    left: Linear
    comparison: Comparison
    right: Linear
    margin: float

    @property
    def difference(self) -> Linear:
        """The left side less the right one."""
        return self.left.plus(self.right, -1.0)

    @property
    def references(self) -> list[Reference]:
        """The fields that it names, in order, each once."""
        return list(dict.fromkeys([*self.left.coefficients, *self.right.coefficients]))

    @property
    def ratio(self) -> tuple[Reference, Reference, float] | None:
        """The two fields whose ratio it bounds, and the bound; None where it is no claim about a ratio.

        `ring.step_ms <= 1.1 * adamw.step_ms` bounds a ratio by 1.1: both sides are a positive quantity times a number.
        """
        sides = [(list(side.coefficients.items()), side.constant) for side in (self.left, self.right)]
        if self.comparison == "=" or any(len(terms) != 1 or constant != 0 for terms, constant in sides):
            return None
        (top, a), (bottom, b) = sides[0][0][0], sides[1][0][0]
        positive = CLAIM_FIELDS[top.field].positive and CLAIM_FIELDS[bottom.field].positive
        return (top, bottom, b / a) if positive and a > 0 and b > 0 and top != bottom else None


class _ClaimParser(Parser):
    form = "Write it like 'ring.test_accuracy > adamw.test_accuracy' or 'ring.test_loss = reng.test_loss ± 0.01'."
    several = "Make two claims of it."

    def claim(self) -> tuple[Linear, Comparison, Linear, float]:
        """Parse the whole text: left side, sign, right side, margin."""
        self.check_length()
        left = _linear(self.sum())
        signs: tuple[Comparison, ...] = ("<=", ">=", "<", ">", "=")
        sign = next((one for one in signs if self.take(one)), None)
        if sign is None:
            raise self.error("expected one of < <= > >= =", hint=self._comparison_hint())
        self.take("=")  # == is = to those who program
        right = _linear(self.sum())
        margin = 0.0
        if self.take("±", "within"):
            if sign != "=":
                raise self.error("a margin belongs to =", hint="Add it to a side: '> adamw.test_accuracy - 0.005'.")
            self.peek()
            margin = self.number()
            if margin <= 0:
                raise self.error("the margin must be above 0")
        elif sign == "=" and not self.peek():
            hint = "Write '… = adamw.test_accuracy ± 0.005': measured numbers are equal by chance only."
            raise self.error("= needs a margin", hint=hint)
        self.end()
        numbers = [left.constant, right.constant, *left.coefficients.values(), *right.coefficients.values()]
        if not all(map(math.isfinite, numbers)):
            raise self.error("the numbers are too large", back=self.at)
        if not left.plus(right, -1.0).coefficients:
            raise self.error("nothing measured is compared", hint=self.form, back=self.at)
        return left, sign, right, margin

    def product(self) -> Term:
        """Parse factors, of which one at most may hold a field."""
        self.peek()
        first = self.factor()
        rest: list[tuple[Callable[[float, float], float], Term]] = []
        fields = bool(_linear(first).coefficients)
        while self.take("*", "×"):
            self.peek()
            begin = self.at
            factor = self.factor()
            if fields and _linear(factor).coefficients:
                hint = "Multiply fields by numbers only."
                raise self.error("a field times a field cannot be tested", hint=hint, back=self.at - begin)
            fields = fields or bool(_linear(factor).coefficients)
            rest.append((operator.mul, factor))
        return Chain(first, tuple(rest)) if rest else first

    def no_field(self, name: str) -> str:
        return f"a run has no {name!r} of its own that a claim could be about"

    def place(self, at: int) -> str:
        return f" (column {at + 1})"

    def _comparison_hint(self) -> str | None:
        return "Say which is larger." if self.peek() == "!" else super()._comparison_hint()


def _linear(term: Term) -> Linear:
    """Return a parsed term, whose products are known to be linear, as a sum."""
    if isinstance(term, Reference):
        return Linear({term: 1.0}, 0.0)
    if isinstance(term, Negation):
        return Linear({}, 0.0).plus(_linear(term.of), -1.0)
    if isinstance(term, Chain):
        total = _linear(term.first)
        for apply, following in term.rest:
            other = _linear(following)
            if apply is operator.mul:
                fields, factor = (other, total.constant) if other.coefficients else (total, other.constant)
                total = Linear({}, 0.0).plus(fields, factor)
            else:
                total = total.plus(other, 1.0 if apply is operator.add else -1.0)
        return total
    return Linear({}, float(term))


def parse_claim(claim: ClaimConfig, labels: Sequence[str], *, where: str = WHERE) -> Claim:
    """Parse a claim.

    Args:
        claim: As given by the user.
        labels: The names of all rows.
        where: Where it was given, for messages.

    Raises:
        GrngError: It does not parse, or names an unknown row or field; the message shows the column.
    """
    left, comparison, right, margin = _ClaimParser(claim.claim, labels, tuple(CLAIM_FIELDS), where=where).claim()
    name = " ".join((claim.name or claim.claim).split())
    return Claim(claim.claim, name, left, comparison, right, margin)


def parse_claims(claims: Sequence[ClaimConfig], labels: Sequence[str], *, locate: Locate | None = None) -> list[Claim]:
    """Parse all claims of a comparison.

    Args:
        claims: As given by the user.
        labels: The names of all rows.
        locate: Where a key of the comparison was given, for messages.

    Raises:
        ConfigError: With every problem of every claim.
    """
    parsed: list[Claim] = []
    problems: list[GrngError] = []
    for index, claim in enumerate(claims):
        try:
            parsed.append(parse_claim(claim, labels, where=locate(("claims", index)) if locate else WHERE))
        except GrngError as error:
            problems.append(error)
    if problems:
        raise ConfigError(problems)
    return parsed
