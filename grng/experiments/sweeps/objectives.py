"""What makes a trial better than another: one number, from validation data alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grng.runs.result import RunResult

TITLES = {
    "accuracy": "val. accuracy",
    "loss": "val. loss",
    "steps-to-target": "steps to target",
    "time-to-target": "time to target, s",
}


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a sweep keeps of one run: nothing of the test data.

    Args:
        seed: Its seed.
        status: finished, pruned, diverged or failed.
        reason: Why, unless it finished.
        val_accuracy: Of the last weights; None where there is none.
        val_loss: Likewise.
        target_step: The first step at which the target was reached; None: never.
        target_time_s: Likewise in seconds on the training clock.
        train_s: Seconds on the training clock.
    """

    seed: int
    status: str
    reason: str | None = None
    val_accuracy: float | None = None
    val_loss: float | None = None
    target_step: int | None = None
    target_time_s: float | None = None
    train_s: float | None = None

    @classmethod
    def of(cls, result: RunResult) -> RunOutcome:
        """Return what is kept of a result."""
        return cls(
            result.seed,
            result.status,
            result.reason,
            result.final.val_accuracy,
            result.final.val_loss,
            result.target.step,
            result.target.time_s,
            result.time.train_s,
        )

    def stored(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def minimizes(objective: str) -> bool:
    """Return whether small values of `objective` are good."""
    return objective != "accuracy"


def needs_target(objective: str) -> bool:
    """Return whether `objective` asks when a validation accuracy was reached."""
    return objective.endswith("-to-target")


def worst(objective: str) -> float:
    """Return the value of a run without one: it diverged, failed, or never reached the target."""
    return math.inf if minimizes(objective) else 0.0


def trial_value(objective: str, runs: Sequence[RunOutcome]) -> float:
    """Return the mean over a trial's runs."""
    return statistics.fmean(run_value(objective, run) for run in runs)


def run_value(objective: str, run: RunOutcome) -> float:
    """Return the value of one run."""
    measured = {
        "accuracy": run.val_accuracy,
        "loss": run.val_loss,
        "steps-to-target": run.target_step,
        "time-to-target": run.target_time_s,
    }[objective]
    if run.status != "finished" or measured is None or not math.isfinite(measured):
        return worst(objective)
    return float(measured)


def trial_status(runs: Sequence[RunOutcome]) -> str:
    """Return finished, or what became of a run that did not."""
    statuses = {run.status for run in runs}
    return next((status for status in ("failed", "diverged", "pruned") if status in statuses), "finished")
