"""What happens in a run, as one stream of typed events. A listener is any callable of one event.

The order is RunStarted; for every step StepDone, just before it Evaluated if there was an evaluation, after it
EpochDone at an epoch's end, then CheckpointSaved if there was one; RunEnded. A run that is reused sends RunEnded alone.
Events are picklable. Listeners run while the training clock stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grng.runs.config import RunConfig
from grng.runs.result import RunResult


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Everything is in place and the first step comes next.

    `coverage` holds rows of plain values, one a parameter, or None; `coverage_summary` says the same in one line;
    `resumed_from_step` is None for a fresh run; `warnings` says what the user should know of data and
    checkpoint, `notes` what of the model: weights loaded, what is frozen.
    """

    config: RunConfig
    directory: Path
    planned_steps: int
    steps_per_epoch: int
    resumed_from_step: int | None
    device: str
    parameters: Mapping[str, int | None]
    coverage: Sequence[Mapping[str, Any]] | None
    coverage_summary: str | None
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The validation split was measured after `step`: mean loss in nats, accuracy a fraction."""

    step: int
    epoch: int
    elapsed_s: float
    val_loss: float
    val_accuracy: float
    is_best: bool


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step is done.

    `step` and `epoch` count from 1, `elapsed_s` is the training clock's, `train_loss` this batch's loss before the
    update. On logged steps `metrics` holds `train_accuracy` of this batch, `lr` of the first parameter group and
    `optimizer/*` diagnostics, and the run's `diagnostics/*` where they were due, `timing` the mean milliseconds per
    step so far (`step_ms`, `forward_ms`, …); else they are empty. `evaluation` is set where the step was evaluated and
    no EpochDone follows that carries it, `coverage_summary` where the optimizer found out that a layer cannot be
    preconditioned as announced.
    """

    step: int
    epoch: int
    planned_steps: int
    elapsed_s: float
    train_loss: float
    logged: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    evaluation: Evaluated | None = None
    coverage_summary: str | None = None


@dataclass(frozen=True, slots=True)
class EpochDone:
    """An epoch is over, or the run in the midst of its last one.

    `train_loss` is the mean over the epoch's batches so far.
    """

    step: int
    epoch: int
    elapsed_s: float
    train_loss: float
    batches_sha256: str
    evaluation: Evaluated


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """All that was sent before is on disk and a run that dies goes on from `step`."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run has its result; `reused` if it had it before this call."""

    result: RunResult
    reused: bool = False


Event = RunStarted | StepDone | Evaluated | EpochDone | CheckpointSaved | RunEnded
Listener = Callable[[Event], None]
