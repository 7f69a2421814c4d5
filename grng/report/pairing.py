"""Which runs are pairs: same seed, same initial weights, same batches, as the hashes in their results prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grng.report.records import Run
from grng.runs.result import RunResult


@dataclass(frozen=True, slots=True)
class Pair:
    """A finished run and the reference's finished run with its seed."""

    value: RunResult
    reference: RunResult


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of one row with the reference.

    Attributes:
        proven: Those whose hashes agree, by seed.
        refused: Why and for which seeds a pair is none.
    """

    proven: tuple[Pair, ...]
    refused: dict[str, list[int]]


def pair_runs(runs: Sequence[Run], references: Sequence[Run]) -> Pairs:
    """Pair the finished runs of a row with the reference's by seed, and sort out those that do not match."""
    by_seed = {run.seed: run for run in references if run.status == "finished"}
    proven: list[Pair] = []
    refused: dict[str, list[int]] = {}
    for run in runs:
        other = by_seed.get(run.seed)
        if run.status != "finished" or run.result is None or other is None or other.result is None:
            continue
        reason = mismatch(run, other)
        if reason is None:
            proven.append(Pair(run.result, other.result))
        else:
            refused.setdefault(reason, []).append(run.result.seed)
    return Pairs(tuple(proven), refused)


def mismatch(first: Run, second: Run) -> str | None:
    """Return why two runs of one seed are no pair, None when they are.

    Runs of different lengths are compared over their common prefix, at the last epoch's end that both have.
    """
    if first.result is None or second.result is None:
        return "no result"
    ours, theirs = first.result.pairing, second.result.pairing
    if ours.init_sha256 is None or theirs.init_sha256 is None:
        return "initial weights not recorded"
    if ours.init_sha256 != theirs.init_sha256:
        return "different initial weights"
    return _batches_mismatch(_full_chain(first, first.result), _full_chain(second, second.result))


def _full_chain(run: Run, result: RunResult) -> dict[int, str]:
    last = result.pairing.batches_sha256
    return {**run.chain, result.steps: last} if last is not None else dict(run.chain)


def _batches_mismatch(ours: dict[int, str], theirs: dict[int, str]) -> str | None:
    common = ours.keys() & theirs.keys()
    if not common:
        return "no common step at which the batches can be compared"
    # A chain: equal at one step means equal at every step before it.
    last = max(common)
    return None if ours[last] == theirs[last] else "different batches"
