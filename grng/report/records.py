"""What a report knows: runs and the experiment that they make up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from grng.runs.result import RunResult

if TYPE_CHECKING:
    from grng.report.tuning import RowTuning
    from grng.report.tuning_curves import Curve

RunStatus = Literal["finished", "diverged", "failed", "interrupted", "running", "missing", "corrupt"]
"""As in `result.json`, or what is known of a run without one: `running` (its directory is claimed by a process),
`missing` (planned, not begun), `corrupt` (there is a `result.json` that cannot be read)."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run directory.

    Attributes:
        directory: Where it is, or would be.
        label: The row that it belongs to.
        seed: None when neither result, config nor directory name tells.
        status: What became of it.
        result: None unless `result.json` could be read.
        problem: Why there is no result, for status corrupt.
        chain: Hash of the batches seen so far, by step, at each epoch's end.
        root: The experiment directory that it was found in, None outside of any.
    """

    directory: Path
    label: str
    seed: int | None
    status: RunStatus
    result: RunResult | None = None
    problem: str | None = None
    chain: Mapping[int, str] = field(default_factory=dict)
    root: Path | None = None

    @property
    def name(self) -> str:
        """How messages call it: `ring seed 2`."""
        return f"{self.label} seed {'?' if self.seed is None else self.seed}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """Runs of one model on one data set.

    Attributes:
        runs: Every run found or planned, in the order of `labels`, then by seed.
        labels: The rows, in order.
        seeds: All seeds that occur, ascending.
        reference: The label that the others are compared with.
        workers: How many runs went at once; None when not recorded.
        warnings: What was odd about the directories; sentences.
        tuning: How rows were tuned, by label.
        curves: What smaller tuning budgets would have found, by label.
    """

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    reference: str
    workers: int | None = None
    warnings: tuple[str, ...] = ()
    tuning: Mapping[str, RowTuning] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def of(self, label: str) -> tuple[Run, ...]:
        """Return the runs of one row."""
        return tuple(run for run in self.runs if run.label == label)
