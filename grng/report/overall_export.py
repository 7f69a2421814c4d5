"""What holds over several workloads, as columns, sentences, Markdown, CSV and plain values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from grng.report.checks import plural
from grng.report.columns import NOTHING, Column, Group, fixed, interval
from grng.report.export import markdown_table, to_csv
from grng.report.overall import LEAST_FOR_INTERVALS, TAUS, Overall, ProfileTable
from grng.report.tables import Table
from grng.statistics import BOOTSTRAP_FROM


def overall_columns(overall: Overall) -> list[Column]:
    """Return the columns of the table over all workloads, one row an optimizer."""
    columns = [Column("optimizer", "left", overall.labels, None)]
    kinds: tuple[tuple[str, Group, ProfileTable | None], ...] = (
        ("steps", "target", overall.steps),
        ("time", "cost", overall.time),
    )
    for kind, group, table in kinds:
        if table is not None:
            columns += _profile_columns(kind, group, table, overall.labels)
    if overall.ranks is not None:
        ranks = [overall.ranks[label] for label in overall.labels]
        shown = tuple(interval(rank.mean, rank.low, rank.high, decimals=2) for rank in ranks)
        columns.append(Column("mean rank, test accuracy", "right", shown, "accuracy"))
        if any(rank.best_share is not None for rank in ranks):
            first = tuple(_percent(rank.best_share) for rank in ranks)
            columns.append(Column("ranked first", "right", first, "accuracy"))
    return columns


def _profile_columns(kind: str, group: Group, table: ProfileTable, labels: Sequence[str]) -> list[Column]:
    scores = tuple(fixed(table.profiles.scores[label]) for label in labels)
    columns = [Column(f"profile score, {kind}", "right", scores, group)]
    for index, tau in enumerate(TAUS):
        cells = tuple(_percent(table.shares[label][index]) for label in labels)
        columns.append(Column(f"{kind} ≤ {tau:g} ×", "right", cells, group))
    return columns


def _percent(share: float | None) -> str:
    return NOTHING if share is None or math.isnan(share) else f"{100 * share:.0f} %"


def overall_sentences(overall: Overall) -> list[str]:
    """Return the lines to quote: profile scores on steps and time, mean ranks; the best first."""
    lines = []
    largest = f"{TAUS[-1]:g}"
    for kind, table in (("steps", overall.steps), ("time", overall.time)):
        if table is not None:
            scores = sorted(table.profiles.scores.items(), key=lambda item: -item[1])
            listing = ", ".join(f"{label} {score:.3f}" for label, score in scores)
            lines.append(
                f"profile scores on {kind} to the target over {plural(len(table.workloads), 'workload')} "
                f"(1: the fastest on each, 0: never within {largest} times the fastest): {listing}"
            )
    if overall.ranks is not None:
        ranks = overall.ranks
        listing = ", ".join(
            f"{label} {interval(ranks[label].mean, ranks[label].low, ranks[label].high, decimals=2)}"
            for label in sorted(overall.labels, key=lambda label: ranks[label].mean)
        )
        lines.append(f"mean ranks by test accuracy over {plural(len(overall.ranked), 'workload')}: {listing}")
    return lines


def overall_notes(overall: Overall) -> list[str]:
    """Return how to read the numbers, and what was left out."""
    notes = list(overall.notes)
    if overall.steps is not None or overall.time is not None:
        notes.append(
            "profiles (Dolan and Moré; scores as AlgoPerf's): of medians over seeds, never reached counts as infinity; "
            f"≤ τ ×: share of the workloads on which a row takes at most τ times the fastest's, up to τ = {TAUS[-1]:g}"
        )
    if overall.ranks is not None:
        notes.append(f"mean ranks: 1 is the best, equals share; {_spread(overall)}")
    return notes


def _spread(overall: Overall) -> str:
    """Return what the intervals of the ranks are, and what they are worth."""
    if overall.rank_seeds < LEAST_FOR_INTERVALS:
        are = "is" if overall.rank_seeds == 1 else "are"
        return f"{plural(overall.rank_seeds, 'seed')} {are} too few for an interval (from {LEAST_FOR_INTERVALS} on)"
    text = (
        "95 % over resampled seeds, for these workloads; ranked first: share of the resamples in which no row is better"
    )
    if overall.rank_seeds < BOOTSTRAP_FROM:
        text += f"; with {overall.rank_seeds} seeds, which resampling takes for all there are, they are too narrow"
    return text


def overall_markdown(overall: Overall) -> str:
    """Return the table over all workloads as GitHub shows it, with its sentences and notes."""
    return markdown_table(overall_columns(overall), [*overall_sentences(overall), *overall_notes(overall)])


def overall_dict(overall: Overall) -> dict[str, Any]:
    """Return `profiles`, `ranks` and their sentences and notes as plain values; infinity is the text "inf"."""
    ranks = overall.ranks
    return {
        "profiles": {
            "taus": list(TAUS),
            "largest": TAUS[-1],
            "steps": _profile_dict(overall.steps),
            "time": _profile_dict(overall.time),
        },
        "ranks": None
        if ranks is None
        else {
            "workloads": list(overall.ranked),
            "rows": {
                label: {"mean": rank.mean, "low": rank.low, "high": rank.high, "best_share": rank.best_share}
                for label, rank in ranks.items()
            },
        },
        "sentences": overall_sentences(overall),
        "notes": overall_notes(overall),
    }


def _profile_dict(table: ProfileTable | None) -> dict[str, Any] | None:
    if table is None:
        return None
    return {
        "workloads": list(table.workloads),
        "scores": dict(table.profiles.scores),
        "shares": {label: list(shares) for label, shares in table.shares.items()},
        "costs": {
            label: [cost if math.isfinite(cost) else "inf" for cost in costs] for label, costs in table.costs.items()
        },
    }


def workloads_csv(tables: Mapping[str, Table]) -> str:
    """Return the tables of all workloads as one, the workload's name in the first column."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for index, (name, table) in enumerate(tables.items()):
        head, *rows = csv.reader(io.StringIO(to_csv(table)))
        if index == 0:
            writer.writerow(["workload", *head])
        writer.writerows([name, *row] for row in rows)
    return stream.getvalue()
