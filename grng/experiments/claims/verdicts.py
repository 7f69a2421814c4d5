"""Claims held against runs: supported, contradicted or undecided, with the numbers that say so.

Values are paired by seed. The interval of the mean difference of the two sides (of the mean ratio for positive
quantities) is Student-t, widened for the number of claims as Holm's correction does: a claim is *supported* where the
interval leaves out what contradicts it, *contradicted* where it leaves out the claim, and undecided otherwise. Where a
target was never reached, or where the seeds do not differ at all, there is no spread to estimate: then seeds are
counted in which the claim holds, and the interval is that of their share (docs/claims.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from grng.experiments.claims.fields import CLAIM_FIELDS
from grng.experiments.claims.statements import Claim
from grng.experiments.claims.values import Sides, sides_of
from grng.report.checks import few, plural
from grng.report.records import Experiment
from grng.statistics import (
    SIGNIFICANCE,
    equivalence_test,
    holm,
    mean_interval,
    mean_test,
    median,
    share_interval,
    sign_test,
)

Verdict = Literal["supported", "contradicted", "undecided"]
Method = Literal["difference", "ratio", "equivalence", "sign"]
MIN_SEEDS = 2
"""With fewer no claim can be decided."""

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """What came of a claim.

    Attributes:
        claim: The claim.
        verdict: What the runs say of it.
        method: What was estimated: the mean difference of the sides, their mean ratio, or the share of the seeds in
            which the claim holds ("sign"); None where nothing could be.
        estimate: That; fields stand on the left of it, numbers in `bound`.
        low: Lower end of its interval.
        high: Its upper end.
        bound: What the claim says of the estimate: that it is above or below, or for equivalence near this.
        confidence: Of the interval, 95 % for a single claim.
        p: Two-sided p-value, not adjusted.
        p_adjusted: The same after Holm's correction over all claims, of all workloads.
        n: Seeds.
        values: Mean of every field over them; for what may be infinite the median.
        remarks: Why it is undecided, and what was left out; phrases.
    """

    claim: Claim
    verdict: Verdict = "undecided"
    method: Method | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    confidence: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    n: int = 0
    values: Mapping[str, float] | None = None
    remarks: tuple[str, ...] = ()


def judge_claims(claims: Sequence[Claim], experiment: Experiment) -> list[JudgedClaim]:
    """Hold all claims of a comparison against its runs; they are one Holm family."""
    return judge_on_workloads(claims, [experiment])[0]


def judge_on_workloads(claims: Sequence[Claim], experiments: Sequence[Experiment]) -> list[list[JudgedClaim]]:
    """Hold all claims against the runs of every workload; all of them together are one Holm family.

    Args:
        claims: The claims.
        experiments: One a workload.

    Returns:
        For each workload, the claims in their order.
    """
    asked = [(claim, experiment) for experiment in experiments for claim in claims]
    sides = [sides_of(claim, experiment) for claim, experiment in asked]
    first = [_estimated(claim, of_claim) for (claim, _), of_claim in zip(asked, sides, strict=True)]
    adjusted = holm([one.p for one in first])
    family = sum(one.p is not None for one in first)
    judged = [_decided(one, of_claim, p, family) for one, of_claim, p in zip(first, sides, adjusted, strict=True)]
    return [judged[at * len(claims) : (at + 1) * len(claims)] for at in range(len(experiments))]


def _estimated(claim: Claim, sides: Sides) -> JudgedClaim:
    """Return estimate and p of a claim, or why there is none."""
    n = len(sides.left)
    remarks = [f"seed{'' if len(seeds) == 1 else 's'} {few(seeds, 10)}: {why}" for why, seeds in sides.remarks.items()]
    values = {str(one): _centre(of_field) for one, of_field in sides.values.items() if of_field}
    made = JudgedClaim(claim, n=n, values=values, remarks=tuple(remarks))
    if sides.incomparable:
        return replace(made, remarks=(sides.incomparable, *made.remarks))
    if n == 0:
        lost = list(sides.lost.values())
        return replace(made, remarks=("no seed in which all of its rows have a value", *lost, *made.remarks))
    if claim.comparison == "=":
        made = _equivalence(made, sides)
    elif not all(map(math.isfinite, (*sides.left, *sides.right))):
        made = _sign(made, sides)
    else:
        made = _mean(made, sides)
    if n < MIN_SEEDS:
        return replace(made, p=None, remarks=("a single seed has no spread", *made.remarks))
    return made


def _centre(values: Sequence[float]) -> float:
    return sum(values) / len(values) if all(map(math.isfinite, values)) else median(values)


def _sign(made: JudgedClaim, sides: Sides) -> JudgedClaim:
    test = sign_test(sides.left, sides.right)
    holding = test.below if made.claim.comparison in ("<", "<=") else test.above
    untied = test.below + test.above
    share = holding / untied if untied else 0.5
    return replace(made, method="sign", estimate=share, bound=0.5, p=test.p)


def _transformed(claim: Claim, sides: Sides) -> tuple[list[float], float, Method]:
    """Return one number a seed and the bound that the claim puts on their mean; logarithms for a ratio."""
    ratio = claim.ratio
    if ratio is not None:
        top, bottom, bound = ratio
        pairs = list(zip(sides.values[top], sides.values[bottom], strict=True))
        if all(value > 0 and other > 0 for value, other in pairs):
            return [math.log(value) - math.log(other) for value, other in pairs], math.log(bound), "ratio"
    difference = claim.difference
    numbers = [a - b - difference.constant for a, b in zip(sides.left, sides.right, strict=True)]
    return numbers, -difference.constant, "difference"


def _mean(made: JudgedClaim, sides: Sides) -> JudgedClaim:
    numbers, bound, method = _transformed(made.claim, sides)
    scale = max(map(abs, (*numbers, bound, *sides.left, *sides.right)))
    if len(numbers) > 1 and max(numbers) - min(numbers) <= _ROUNDING * scale:
        return _sign(made, sides)
    p = mean_test(numbers, bound) if len(numbers) > 1 else None
    made = replace(made, method=method, estimate=sum(numbers) / len(numbers), bound=bound, p=p)
    return _carried_back(made)


def _carried_back(made: JudgedClaim) -> JudgedClaim:
    """Return logarithms as ratios."""
    if made.method != "ratio":
        return made
    ends = [None if one is None else _exp(one) for one in (made.estimate, made.bound, made.low, made.high)]
    return replace(made, estimate=ends[0], bound=ends[1], low=ends[2], high=ends[3])


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _equivalence(made: JudgedClaim, sides: Sides) -> JudgedClaim:
    if not all(map(math.isfinite, (*sides.left, *sides.right))):
        return replace(made, remarks=("values that can be infinite have no equivalence", *made.remarks))
    numbers, bound, _ = _transformed(made.claim, sides)
    made = replace(made, method="equivalence", estimate=sum(numbers) / len(numbers), bound=bound)
    if len(numbers) > 1 and max(numbers) == min(numbers):
        return replace(made, remarks=("the seeds do not differ: no spread to estimate from", *made.remarks))
    test = equivalence_test([number - bound for number in numbers], made.claim.margin)
    return made if test is None else replace(made, p=min(test.p, test.p_beyond))


def _decided(made: JudgedClaim, sides: Sides, p_adjusted: float | None, family: int) -> JudgedClaim:
    """Return the claim with its interval and verdict."""
    p, estimate, bound = made.p, made.estimate, made.bound
    if p is None or p_adjusted is None or estimate is None or bound is None:
        return made
    # The level at which the interval leaves the bound out exactly where the adjusted p is below the significance.
    level = SIGNIFICANCE * (p / p_adjusted if p_adjusted > 0 else 1 / family)
    low, high, confidence = _interval(made, sides, level)
    made = replace(made, p_adjusted=p_adjusted, low=low, high=high, confidence=confidence)
    if p_adjusted >= SIGNIFICANCE:
        return made
    if made.claim.comparison == "=":
        holds = abs(estimate - bound) <= made.claim.margin
    else:
        above = estimate > bound
        holds = above if made.method == "sign" else above == (made.claim.comparison in (">", ">="))
    against = _selection(made.claim, sides, holds)
    if against:
        return replace(made, remarks=(*against, *made.remarks))
    return replace(made, verdict="supported" if holds else "contradicted")


def _interval(made: JudgedClaim, sides: Sides, level: float) -> tuple[float, float, float]:
    """Return the interval's ends and its confidence."""
    if made.method == "sign":
        test = sign_test(sides.left, sides.right)
        holding, untied = round((made.estimate or 0) * (test.below + test.above)), test.below + test.above
        low, high = share_interval(holding, untied, 1 - level) if untied else (0.0, 1.0)
        return low, high, 1 - level
    # Equivalence is two one-sided tests, each at the level.
    confidence = 1 - (2 * level if made.method == "equivalence" else level)
    numbers, _, method = _transformed(made.claim, sides)
    interval = mean_interval(numbers, confidence)
    low, high = interval.low or 0.0, interval.high or 0.0
    return (_exp(low), _exp(high), confidence) if method == "ratio" else (low, high, confidence)


def _selection(claim: Claim, sides: Sides, holds: bool) -> list[str]:
    """Return the runs that are missing from a mean which flatters their row, in words.

    What is left of a row's diverged runs is a selection, which may be called worse and never better.
    """
    upwards = claim.comparison in (">", ">=")
    found = []
    for reference, coefficient in claim.difference.coefficients.items():
        if reference.label not in sides.lost:
            continue
        better = CLAIM_FIELDS[reference.field].better
        called_good = ((coefficient > 0) == (better > 0)) == (upwards == holds)
        if claim.comparison == "=" or better == 0 or called_good:
            found.append(f"{sides.lost[reference.label]}, and what is left is a selection")
    return list(dict.fromkeys(found))


def remarks_of_few_seeds(seeds: int, *, claims: int, margin: float | None) -> list[str]:
    """Return what must be said of claims and of a margin before so few seeds are run that they decide nothing."""
    if seeds >= MIN_SEEDS:
        return []
    asked = ([plural(claims, "claim")] if claims else []) + (["equivalence"] if margin is not None else [])
    return [f"{' and '.join(asked)} cannot be decided with {plural(seeds, 'seed')}"] if asked else []
