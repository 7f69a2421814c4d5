"""The verdict in a few sentences: who is better, worse, equivalent, not told apart, by how much, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from grng.report.checks import few, leaves_out_zero, plural, power_note
from grng.report.columns import interval, points
from grng.report.records import Experiment
from grng.report.row import Row
from grng.report.tables import Table
from grng.statistics import seeds_needed

_KINDS = (
    ("better", "better"),
    ("worse", "worse"),
    ("equivalent", "equivalent"),
    ("not distinguishable", "not distinguishable"),
)

_MOST = 7
"""Rows that a sentence names."""


def headline(table: Table) -> list[str]:
    """Return the sentences that a reader in a hurry takes along; every difference has its interval."""
    reference = table.row(table.reference)
    others = [row for row in table.rows if not row.is_reference]
    if not others:
        return [_alone(reference, table)]
    lines = []
    left = list(others)
    short = _too_few(others)
    for begin, word in _KINDS:
        rows = sorted((row for row in left if row.verdict.startswith(begin)), key=lambda row: -(row.difference or 0))
        left = [row for row in left if row not in rows]
        if rows:
            lines.append(f"{word.capitalize()}{_than(word, table)}{_all_told(rows, with_p=short is None)}.")
    if left:
        why = [f"{row.label} ({row.verdict.removeprefix('no verdict: ')})" for row in left if row.verdict]
        lines.append(f"No verdict: {'; '.join(why)}.")
    if short:
        lines.append(short)
    if reference.test_accuracy is not None:
        score = interval(reference.test_accuracy, reference.test_accuracy_low, reference.test_accuracy_high)
        lines.append(
            f"The reference {table.reference} has a test accuracy of {score} over {plural(reference.n, 'seed')}."
        )
    else:
        lines.append(f"No run of the reference {table.reference} has finished.")
    return [*lines, *_pace(others, reference, table), *_cost(others, table)]


def _too_few(rows: Sequence[Row]) -> str | None:
    """Return how many seeds a difference would have taken, None where there are enough."""
    seeds, comparisons = max((row.pairs for row in rows), default=0), sum(row.p_value is not None for row in rows)
    if power_note(seeds, comparisons) is None:
        return None
    none = "no difference" if comparisons == 1 else f"none of {comparisons} differences"
    needed = seeds_needed(comparisons)
    return (
        f"With {plural(seeds, 'seed')} {none} can be told from chance by the exact test, however large; that takes "
        f"{needed} seeds (--seeds {needed} with the same --output adds them)."
    )


def _pace(others: Sequence[Row], reference: Row, table: Table) -> list[str]:
    """Return how soon rows reached the target, against the reference; where a run never did, how often they did."""
    aiming = [row for row in (reference, *others) if row.target_runs]
    if table.target is None or not aiming:
        return []
    goal = f"the target of {table.target:g} validation accuracy"
    lines = []
    told = sorted(
        (row for row in others if row.steps_to_target_ratio is not None), key=lambda row: row.steps_to_target_ratio or 0
    )
    if told:
        lines.append(f"To {goal}, against {table.reference}: {_some([_soon(row) for row in told])}.")
    missed = sorted((row for row in aiming if row.reached < row.target_runs), key=lambda r: -r.reached / r.target_runs)
    if missed:
        often = _some([f"{row.label} in {row.reached} of {plural(row.target_runs, 'run')}" for row in missed])
        lines.append(f"Not every run reached {goal}: {often}.")
    return lines


def _soon(row: Row) -> str:
    steps = row.steps_to_target_ratio, row.steps_to_target_ratio_low, row.steps_to_target_ratio_high
    time = row.time_to_target_ratio, row.time_to_target_ratio_low, row.time_to_target_ratio_high
    told = f"{row.label} {interval(*steps, decimals=2)} × the steps"
    timed = row.time_to_target_ratio is not None and not row.time_mark
    return f"{told}, {interval(*time, decimals=2)} × the time" if timed else told


def _cost(others: Sequence[Row], table: Table) -> list[str]:
    """Return what steps cost against the reference's, of the rows whose times can be compared."""
    told = [row for row in others if row.step_ratio is not None and not row.time_mark]
    if not told:
        return []
    costs = [
        f"{row.label} {interval(row.step_ratio, row.step_ratio_low, row.step_ratio_high, decimals=2)} ×"
        for row in sorted(told, key=lambda row: row.step_ratio or 0)
    ]
    return [f"A step's time against {table.reference}'s: {_some(costs)}."]


def _some(told: Sequence[str]) -> str:
    """Return the first of them; the table and the figures have all."""
    rest = f"; and {len(told) - _MOST} more" if len(told) > _MOST else ""
    return "; ".join(told[:_MOST]) + rest


def _alone(row: Row, table: Table) -> str:
    if row.test_accuracy is None:
        return f"No run of {row.label} has finished."
    score = interval(row.test_accuracy, row.test_accuracy_low, row.test_accuracy_high)
    return (
        f"{row.label} has a test accuracy of {score} over {plural(row.n, 'seed')}; there is nothing to compare it with."
    )


def _than(word: str, table: Table) -> str:
    joint = {"equivalent": "to", "not distinguishable": "from"}.get(word, "than")
    within = f" within ±{100 * table.margin:.3g} points" if word == "equivalent" and table.margin else ""
    return f" {joint} {table.reference} in test accuracy{within}"


def _all_told(rows: Sequence[Row], *, with_p: bool) -> str:
    """Return the differences; the number of pairs once where it is that of all rows."""
    counts = {row.pairs for row in rows}
    alike = f" (n = {rows[0].pairs}" + (" each)" if len(rows) > 1 else ")") if len(counts) == 1 else ""
    return f"{alike}: {_some([_told(row, with_n=not alike, with_p=with_p) for row in rows])}"


def _told(row: Row, *, with_n: bool, with_p: bool) -> str:
    mean, _, ends = points(row).partition(" ")
    extra = [f"n = {row.pairs}"] if with_n else []
    extra += [within] if (within := row.verdict.partition(", but ")[2]) else []
    lost = (("diverged", row.diverged), ("failed", row.failed))
    extra += [f"{plural(count, 'more run')} {what}" for what, count in lost if count]
    if with_p and leaves_out_zero(row) and row.p_adjusted is not None:
        extra.append(f"Holm-adjusted p = {row.p_adjusted:.2g}")
    return f"{row.label} {mean} points {ends}".rstrip() + (f" ({', '.join(extra)})" if extra else "")


def progress(experiments: Sequence[Experiment]) -> str | None:
    """Return how far an experiment is, None where all of its runs have ended."""
    runs = [run for one in experiments for run in one.runs]
    open_ = [run for run in runs if run.status in ("running", "interrupted", "missing")]
    if not open_:
        return None
    counts = {status: sum(run.status == status for run in open_) for status in ("running", "interrupted", "missing")}
    told = few(f"{count} {status}" for status, count in counts.items() if count)
    ended = f"{len(runs) - len(open_)} of {len(runs)} runs have ended"
    return f"This report is of an experiment that is not done: {ended}; {told}."
