"""What a run has come to so far, all of it in checkpoints: losses, divergence, best and last evaluation, the target."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, Literal

from grng.training.evaluate import Scores

DivergenceReason = Literal["nan", "loss_bound"]


@dataclass
class Progress:
    """The running record of one run.

    Args:
        steps_per_epoch: Steps of an epoch; so many losses are remembered.
        target: Validation accuracy to reach, a fraction; None for no target.
        divergence_factor: A loss above this times the first step's loss …
        divergence_patience: … for so many steps in a row is divergence.
    """

    steps_per_epoch: int
    target: float | None
    divergence_factor: float
    divergence_patience: int

    step: int = 0
    first_loss: float | None = None
    steps_above: int = 0
    losses: deque[float] = field(default_factory=deque)
    scores: Scores | None = None
    best_accuracy: float | None = None
    best_epoch: int | None = None
    candidate: tuple[int, float] | None = None
    reached: tuple[int, float] | None = None

    @property
    def epoch(self) -> int:
        """The epoch, counted from 1, that the last step belongs to."""
        return (max(self.step, 1) - 1) // self.steps_per_epoch + 1

    @property
    def steps_in_epoch(self) -> int:
        """Steps done of that epoch."""
        return (self.step - 1) % self.steps_per_epoch + 1 if self.step else 0

    def record_step(self, loss: float) -> DivergenceReason | None:
        """Take in a step's loss in nats; return why the run has diverged, or None."""
        self.step += 1
        self.losses.append(loss)
        while len(self.losses) > self.steps_per_epoch:
            self.losses.popleft()
        if not math.isfinite(loss):
            return "nan"
        if self.first_loss is None:
            self.first_loss = loss
        self.steps_above = self.steps_above + 1 if loss > self.divergence_factor * self.first_loss else 0
        return "loss_bound" if self.steps_above >= self.divergence_patience else None

    def epoch_loss(self) -> float:
        """Return the mean loss over the present epoch's steps so far, in nats."""
        skipped = len(self.losses) - self.steps_in_epoch
        return math.fsum(islice(self.losses, skipped, None)) / self.steps_in_epoch

    def final_loss(self) -> float | None:
        """Return the mean loss over the last `steps_per_epoch` steps (or as many as there are); None before the first.

        At an epoch's end that is the epoch's mean; a run whose budget ends within an epoch is not judged by a handful
        of batches.
        """
        return math.fsum(self.losses) / len(self.losses) if self.losses else None

    def record_evaluation(self, scores: Scores, *, elapsed_s: float) -> bool:
        """Take in an evaluation after the last step.

        Args:
            scores: On the validation split.
            elapsed_s: The training clock.

        Returns:
            Whether this is the best accuracy so far; a tie goes to the earlier one.
        """
        self.scores = scores
        if not math.isfinite(scores.loss):
            return False
        self._track_target(scores.accuracy, elapsed_s)
        is_best = self.best_accuracy is None or scores.accuracy > self.best_accuracy
        if is_best:
            self.best_accuracy, self.best_epoch = scores.accuracy, self.epoch
        return is_best

    def _track_target(self, accuracy: float, elapsed_s: float) -> None:
        """The target is reached at the first of two evaluations in a row at or above it; one lucky one is not it."""
        if self.target is None or self.reached is not None:
            return
        if accuracy < self.target:
            self.candidate = None
        elif self.candidate is None:
            self.candidate = (self.step, elapsed_s)
        else:
            self.reached = self.candidate

    def state_dict(self) -> dict[str, Any]:
        """Return what happened so far, of plain types; the settings are the configuration's."""
        state = {name: getattr(self, name) for name in _STATE}
        scores = self.scores
        return state | {
            "losses": list(self.losses),
            "scores": None if scores is None else (scores.loss, scores.accuracy),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for name in _STATE:
            setattr(self, name, state[name])
        self.losses = deque(state["losses"])
        self.scores = None if state["scores"] is None else Scores(*state["scores"])


_SETTINGS = ("steps_per_epoch", "target", "divergence_factor", "divergence_patience")
_STATE = tuple(entry.name for entry in fields(Progress) if entry.name not in _SETTINGS)
