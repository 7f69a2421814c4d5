"""What a claim can be about: numbers that a single run has, so that they can be paired over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Literal

from grng.runs.result import RunResult

Value = Callable[[RunResult], float | int | None]


@dataclass(frozen=True, slots=True)
class ClaimField:
    """A number of a run.

    Attributes:
        get: The number; None where the run has none; infinity: never reached.
        better: 1 where more is better, -1 where less is, 0 where neither.
        positive: Whether it is a positive quantity whose ratios mean more than its differences: steps, times, memory.
        timed: Whether it was measured by a clock, so that only runs on the same machine can be compared.
        of_diverged: Whether a diverged run has it.
    """

    get: Value
    better: Literal[-1, 0, 1] = -1
    positive: bool = False
    timed: bool = False
    of_diverged: bool = False


def _to_target(result: RunResult, name: str) -> float | None:
    if result.target.accuracy is None:
        return None
    value = getattr(result.target, name)
    return math.inf if value is None else float(value)


def _state_bytes(result: RunResult) -> float | None:
    state, trainable = result.memory.optimizer_state_bytes, result.parameters.trainable
    return None if state is None or not trainable else state / trainable


def _score(path: str, *, better: Literal[-1, 0, 1] = -1) -> ClaimField:
    return ClaimField(attrgetter(path), better)


def _cost(path: str, *, timed: bool = False) -> ClaimField:
    return ClaimField(attrgetter(path), positive=True, timed=timed)


CLAIM_FIELDS: Mapping[str, ClaimField] = {
    "test_accuracy": _score("final.test_accuracy", better=1),
    "test_loss": _score("final.test_loss"),
    "train_loss": _score("final.train_loss"),
    "val_accuracy": _score("final.val_accuracy", better=1),
    "val_loss": _score("final.val_loss"),
    "best_val_accuracy": _score("best.val_accuracy", better=1),
    "steps_to_target": ClaimField(partial(_to_target, name="step"), positive=True, of_diverged=True),
    "time_to_target": ClaimField(partial(_to_target, name="time_s"), positive=True, timed=True, of_diverged=True),
    "steps": ClaimField(attrgetter("steps"), 0, positive=True),
    "step_ms": _cost("time.step_ms", timed=True),
    "train_time_s": _cost("time.train_s", timed=True),
    "total_time_s": _cost("time.total_s", timed=True),
    "memory_growth_mb": _cost("memory.growth_mb"),
    "memory_peak_mb": _cost("memory.peak_mb"),
    "state_bytes_per_parameter": ClaimField(_state_bytes, positive=True),
    "hessian_max": _score("diagnostics.hessian_max"),
    "hessian_trace": _score("diagnostics.hessian_trace"),
    "grad_norm": _cost("diagnostics.grad_norm"),
    "step_cosine": _score("diagnostics.step_cosine", better=0),
    "grad_correlation_consecutive": _score("diagnostics.grad_correlation_consecutive", better=0),
    "grad_correlation_sample": _score("diagnostics.grad_correlation_sample", better=0),
}
"""By name, as in `grng.report.row.FIELDS`."""
