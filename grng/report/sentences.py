"""The lines that a person can quote; each says what it rests on."""

from __future__ import annotations

import math

from grng.report.checks import plural
from grng.report.columns import fixed, interval, number, points
from grng.report.row import Row
from grng.report.tables import Table
from grng.report.tuning import budget_of
from grng.report.verdicts import DECIDED


def sentences(table: Table) -> list[str]:
    """Return the quotable lines: accuracies against the reference, then steps and time to the target.

    Caveats are not among them: show `table.warnings` and `table.notes` beside.
    """
    accuracies = [_accuracy(row, table) for row in table.rows]
    targets = [_target(row, table) for row in table.rows]
    return [line for line in (*accuracies, *targets) if line]


def _accuracy(row: Row, table: Table) -> str | None:
    if row.test_accuracy is None:
        return f"test accuracy: {row.label} has none, {row.verdict}" if row.verdict else None
    score = f"{row.label} {interval(row.test_accuracy, row.test_accuracy_low, row.test_accuracy_high)}"
    if row.is_reference:
        return f"test accuracy: {score} ({plural(row.n, 'seed')}{_tuned(row, table)}){_lost(row)}"
    if row.difference is None:
        return f"test accuracy: {score}: {row.verdict}{_lost(row)}"
    mean, *ends = points(row).split(" ", 1)
    difference = " ".join([mean, "points", *ends])
    return f"test accuracy: {score}, {difference} against {table.reference}: {_judged(row, table)}{_lost(row)}"


def _lost(row: Row) -> str:
    """Return what a mean over the finished runs does not show, unless the verdict says it."""
    if not row.diverged or row.verdict.startswith("no verdict"):
        return ""
    return f"; {plural(row.diverged, 'more run')} diverged"


def _judged(row: Row, table: Table) -> str:
    """Return the verdict, with its p where the verdict rests on it, and the budget that the rows were tuned with."""
    tuned = _tuned(row, table)
    if row.verdict.startswith(DECIDED) and row.p_adjusted is not None:
        return f"{row.verdict} (Holm-adjusted p = {row.p_adjusted:.2g}, n = {row.pairs}{tuned})"
    if row.verdict.startswith("equivalent") and row.p_equivalence_adjusted is not None:
        return f"{row.verdict} (Holm-adjusted p = {row.p_equivalence_adjusted:.2g}, n = {row.pairs}{tuned})"
    return f"{row.verdict} ({tuned.removeprefix(', ')})" if tuned else row.verdict


def _tuned(row: Row, table: Table) -> str:
    budget = budget_of(row.label, table.reference, table.tuning)
    return f", {budget}" if budget else ""


def _target(row: Row, table: Table) -> str | None:
    if table.target is None or not row.target_runs:
        return None
    target = f"the target ({table.target:g} validation accuracy)"
    if not row.reached:
        return f"{row.label} never reached {target} in {plural(row.target_runs, 'run')}{_in_brackets(row, table)}"
    if row.is_reference:
        return f"{row.label} reached {target} {_how_often(row)}{_in_brackets(row, table)}"
    if row.steps_to_target_ratio is None:
        often = f"{row.label} reached {target} {_how_often(row)}; {_reference_reached(table)}"
        return f"{often}{_in_brackets(row, table)}"
    steps = interval(
        row.steps_to_target_ratio, row.steps_to_target_ratio_low, row.steps_to_target_ratio_high, decimals=2
    )
    line = f"{row.label} reached {target} in {steps} of {table.reference}'s steps"
    if row.time_to_target_ratio is not None and not row.time_mark:
        time = interval(
            row.time_to_target_ratio, row.time_to_target_ratio_low, row.time_to_target_ratio_high, decimals=2
        )
        line += f" and {time} of its time"
    return f"{line} ({plural(row.pairs, 'seed')}{_tuned(row, table)})"


def _in_brackets(row: Row, table: Table) -> str:
    tuned = _tuned(row, table)
    return f" ({tuned.removeprefix(', ')})" if tuned else ""


def _how_often(row: Row) -> str:
    """Return "in 2 of 3 runs, median 81 steps and 1.24 s"; an infinite median is left out."""
    often = f"in {row.reached} of {plural(row.target_runs, 'run')}"
    if row.steps_to_target is None or row.steps_to_target == math.inf:
        return often
    often += f", median {fixed(row.steps_to_target, 0)} steps"
    timed = row.time_to_target is not None and row.time_to_target != math.inf and not row.time_mark
    return f"{often} and {number(row.time_to_target)} s" if timed else often


def _reference_reached(table: Table) -> str:
    reference = table.row(table.reference)
    if not reference.target_runs:
        return f"{reference.label} has no run to compare"
    if not reference.reached:
        return f"{reference.label} never in {plural(reference.target_runs, 'run')}"
    return f"{reference.label} {_how_often(reference)}"
