"""The verdict in a few sentences: who is better, worse, equivalent, not told apart, by how much."""

from __future__ import annotations

from collections.abc import Sequence

from grng.report.checks import few, plural
from grng.report.columns import interval, points
from grng.report.records import Experiment
from grng.report.row import Row
from grng.report.tables import Table

_KINDS = (
    ("better", "better"),
    ("worse", "worse"),
    ("equivalent", "equivalent"),
    ("not distinguishable", "not distinguishable"),
)


def headline(table: Table) -> list[str]:
    """Return the sentences that a reader in a hurry takes along; every difference has its interval."""
    reference = table.row(table.reference)
    others = [row for row in table.rows if not row.is_reference]
    if not others:
        return [_alone(reference, table)]
    lines = []
    left = list(others)
    for begin, word in _KINDS:
        rows = [row for row in left if row.verdict.startswith(begin)]
        left = [row for row in left if row not in rows]
        if rows:
            lines.append(f"{word.capitalize()}{_than(word, table)}: {'; '.join(map(_told, rows))}.")
    if left:
        why = [f"{row.label} ({row.verdict.removeprefix('no verdict: ')})" for row in left if row.verdict]
        lines.append(f"No verdict: {'; '.join(why)}.")
    if reference.test_accuracy is not None:
        score = interval(reference.test_accuracy, reference.test_accuracy_low, reference.test_accuracy_high)
        lines.append(
            f"The reference {table.reference} has a test accuracy of {score} over {plural(reference.n, 'seed')}."
        )
    return lines


def _alone(row: Row, table: Table) -> str:
    if row.test_accuracy is None:
        return f"No run of {row.label} has finished."
    score = interval(row.test_accuracy, row.test_accuracy_low, row.test_accuracy_high)
    return (
        f"{row.label} has a test accuracy of {score} over {plural(row.n, 'seed')}; there is nothing to compare it with."
    )


def _than(word: str, table: Table) -> str:
    if word == "equivalent":
        return f" to {table.reference}" + (f" within ±{100 * table.margin:.3g} points" if table.margin else "")
    return f" from {table.reference}" if word == "not distinguishable" else f" than {table.reference}"


def _told(row: Row) -> str:
    mean, _, ends = points(row).partition(" ")
    within = row.verdict.partition(", but ")[2]
    extra = f", but {within}" if within else ""
    return f"{row.label} {mean} points {ends}".rstrip() + f" (n = {row.pairs}{extra})"


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
