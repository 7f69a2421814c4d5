"""From an experiment's runs to the numbers that a claim is tested on: one pair of sides a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grng.experiments.claims.fields import CLAIM_FIELDS
from grng.experiments.claims.grammar import Reference
from grng.experiments.claims.statements import Claim
from grng.report.checks import plural, time_mark
from grng.report.pairing import mismatch
from grng.report.records import Experiment, Run


@dataclass
class Sides:
    """The seeds that a claim can be tested on.

    Attributes:
        values: What was measured, by field, one a seed.
        left: The claim's left side, one a seed.
        right: Its right side.
        remarks: Why seeds are left out.
        lost: By row, how many of its runs diverged or failed that should have counted, in words.
        incomparable: Why the times cannot be compared at all; "" where they can or none is asked for.
    """

    values: dict[Reference, list[float]]
    left: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    remarks: dict[str, list[int]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    incomparable: str = ""


def sides_of(claim: Claim, experiment: Experiment) -> Sides:
    """Return what was measured of a claim, for every seed in which all its rows have a fair pair."""
    references = claim.references
    labels = list(dict.fromkeys(reference.label for reference in references))
    runs = {label: {run.seed: run for run in experiment.of(label)} for label in labels}
    sides = Sides({reference: [] for reference in references}, incomparable=_incomparable(references, experiment))
    of_diverged = {
        label: all(CLAIM_FIELDS[one.field].of_diverged for one in references if one.label == label) for label in labels
    }
    sides.lost = {
        label: words for label in labels if (words := _lost(list(runs[label].values()), of_diverged[label], label))
    }
    for seed in experiment.seeds:
        of_seed = [runs[label][seed] for label in labels if seed in runs[label]]
        usable = [run for run in of_seed if _ended(run, of_diverged[run.label])]
        if len(usable) < len(labels):
            continue
        reason = next((found for run in usable[1:] if (found := _no_pair(usable[0], run))), None)
        values = {} if reason else _values(references, dict(zip(labels, usable, strict=True)))
        missing = next((one for one, value in values.items() if value is None), None)
        if missing is not None:
            reason = f"{missing} was not measured"
        known = {one: value for one, value in values.items() if value is not None}
        left, right = (side.value(known) if not reason else math.nan for side in (claim.left, claim.right))
        if not reason and (math.isnan(left) or math.isnan(right)):
            reason = "infinity less infinity"
        if reason:
            sides.remarks.setdefault(reason, []).append(seed)
            continue
        for one, value in known.items():
            sides.values[one].append(value)
        sides.left.append(left)
        sides.right.append(right)
    return sides


def _ended(run: Run, of_diverged: bool) -> bool:
    return run.result is not None and (run.status == "finished" or (of_diverged and run.status == "diverged"))


def _no_pair(first: Run, second: Run) -> str | None:
    """Return why two runs are no fair pair; one that diverged early may have no step in common to prove it by."""
    reason = mismatch(first, second)
    diverged = "diverged" in (first.status, second.status)
    return None if reason is not None and diverged and reason.startswith("no common step") else reason


def _values(references: Sequence[Reference], runs: Mapping[str, Run]) -> dict[Reference, float | None]:
    values: dict[Reference, float | None] = {}
    for one in references:
        known, result = CLAIM_FIELDS[one.field], runs[one.label].result
        value = None if result is None else known.get(result)
        values[one] = None if value is None or math.isnan(value) else float(value)
    return values


def _lost(runs: Sequence[Run], of_diverged: bool, label: str) -> str:
    diverged = 0 if of_diverged else sum(run.status == "diverged" for run in runs)
    failed = sum(run.status == "failed" for run in runs)
    counts = [
        f"{plural(count, 'run')} of {label} {what}" for count, what in ((diverged, "diverged"), (failed, "failed"))
    ]
    return " and ".join(text for text, count in zip(counts, (diverged, failed), strict=True) if count)


def _incomparable(references: Sequence[Reference], experiment: Experiment) -> str:
    """Return why times of different rows cannot be compared, "" where they can."""
    labels = list(dict.fromkeys(one.label for one in references if CLAIM_FIELDS[one.field].timed))
    for label in labels:
        mark = time_mark(experiment.of(label), experiment.of(labels[0]))
        if mark:
            return f"times are not comparable: {label} ran {mark.replace('the reference', labels[0])}"
    return ""
