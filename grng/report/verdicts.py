"""From paired test accuracies to verdicts: better, worse, equivalent, or not distinguishable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from grng.report.checks import plural
from grng.report.pairing import Pair, Pairs
from grng.report.row import Row
from grng.statistics import (
    SIGNIFICANCE,
    IntervalKind,
    PairedComparison,
    effect_size,
    equivalence_test,
    holm,
    paired_comparisons,
    win_share,
)

DECIDED = ("better", "worse")
"""What the verdicts begin with that rest on the test of the difference."""


def compared(
    rows: Sequence[Row],
    reference: Row,
    pairs: Mapping[str, Pairs],
    *,
    margin: float | None = None,
    interval: IntervalKind = "t",
) -> list[Row]:
    """Fill in differences, effect sizes, p-values and verdicts.

    Every row but the reference is one comparison of a Holm family; the tests of equivalence are a family of their own.

    Args:
        rows: All rows, the reference included.
        reference: The row that the others are compared with.
        pairs: By label, the row's pairs with the reference.
        margin: Largest difference that does not matter, a positive fraction; None: no test of equivalence.
        interval: What the intervals of the differences are.
    """
    values = [None if row.label == reference.label else _accuracies(pairs[row.label].proven) for row in rows]
    comparisons = paired_comparisons(values, kind=interval)
    differences = [[] if one is None else [a - b for a, b in zip(*one, strict=True)] for one in values]
    tests = [equivalence_test(one, margin) if one and margin is not None else None for one in differences]
    adjusted = holm([None if test is None else test.p for test in tests])
    made = []
    for row, comparison, of_row, test, p in zip(rows, comparisons, differences, tests, adjusted, strict=True):
        if row.label == reference.label:
            row = replace(row, is_reference=True, difference=0.0 if row.test_accuracy is not None else None)
        elif comparison is None:
            row = replace(row, pairs=0, verdict=_no_pair(row, reference))
        else:
            row = _numbers(row, comparison, of_row)
            row = replace(row, p_equivalence=None if test is None else test.p, p_equivalence_adjusted=p)
            row = replace(row, verdict=_verdict(row, reference, comparison, margin))
        made.append(row)
    return made


def _accuracies(pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    both = [(pair.value.final.test_accuracy, pair.reference.final.test_accuracy) for pair in pairs]
    known = [(value, other) for value, other in both if value is not None and other is not None]
    return [value for value, _ in known], [other for _, other in known]


def _numbers(row: Row, comparison: PairedComparison, differences: Sequence[float]) -> Row:
    difference = comparison.difference
    return replace(
        row,
        pairs=difference.n,
        difference=difference.mean,
        difference_low=difference.low,
        difference_high=difference.high,
        effect_size=effect_size(differences),
        win_share=win_share(differences),
        p_value=comparison.p,
        p_adjusted=comparison.p_adjusted,
    )


def _no_pair(row: Row, reference: Row) -> str:
    if row.n == 0:
        return "all diverged" if row.diverged and not row.failed and not row.unfinished else "no run finished"
    return f"no finished run of {reference.label}" if reference.n == 0 else "no pair to compare"


def _verdict(row: Row, reference: Row, comparison: PairedComparison, margin: float | None) -> str:
    """Say better or worse only when the adjusted p says so and all of the winner's runs took part.

    Equivalence takes all runs of both: that which is left of diverged ones is a selection.
    """
    equivalent = row.p_equivalence_adjusted is not None and row.p_equivalence_adjusted < SIGNIFICANCE
    within = f"within ±{100 * (margin or 0.0):.3g} points"
    if comparison.p_adjusted >= SIGNIFICANCE:
        if not equivalent:
            return f"not distinguishable with n = {row.pairs}"
        lost = _lost(row) or _lost(reference)
        return f"no verdict: {lost}" if lost else f"equivalent {within}"
    winner, word = (row, "better") if comparison.difference.mean > 0 else (reference, "worse")
    lost = _lost(winner)
    if lost:
        return f"no verdict: {lost}"
    return f"{word}, but {within}" if equivalent and not _lost(row) and not _lost(reference) else word


def _lost(row: Row) -> str:
    """Return "1 run of ring diverged" where runs of a row did not finish, else ""."""
    if not row.diverged and not row.failed:
        return ""
    return f"{plural(row.diverged or row.failed, 'run')} of {row.label} {'diverged' if row.diverged else 'failed'}"
