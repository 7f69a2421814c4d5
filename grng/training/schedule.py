"""The learning rate of every step: timm's schedulers, counted in steps.

Step k (from 0) of T steps, with W steps of warm-up, trains every parameter group with its own initial learning rate
times

    k < W        (k + 1) / W                               no step is spent at 0, and step W − 1 has the full rate
    constant     1
    linear       1 − (k − W) / (T − W)
    cosine       ½ (1 + cos(π (k − W) / (T − W)))
    step         rᶠ, f = ⌊(k − W) / E⌋                     a factor r every E steps

linear and cosine reach 0 one step after the last, so that the last step still learns.
"""

from __future__ import annotations

from typing import Literal

import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.multistep_lr import MultiStepLRScheduler
from timm.scheduler.poly_lr import PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.step_lr import StepLRScheduler

from grng.errors import GrngError

ScheduleName = Literal["cosine", "constant", "linear", "step"]


class Schedule:
    """Sets each parameter group's `lr` as a pure function of the step and of the group's initial `lr`.

    Built before the optimizer's state is loaded from a checkpoint, so that the initial rates are the configuration's;
    nothing of it has to be saved.

    Args:
        optimizer: A new optimizer; the present `lr` of each group is its initial one.
        name: The shape of the decay.
        total: Steps of the run, T.
        warmup: Steps of warm-up, W.
        decay_every: Steps between two falls of `step`, E; None for the other schedules.
        decay_rate: What each fall multiplies the rate by, r.

    Raises:
        GrngError: If the warm-up leaves no step to train at.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        name: ScheduleName,
        total: int,
        warmup: int,
        decay_every: int | None = None,
        decay_rate: float = 0.1,
    ) -> None:
        if warmup >= total:
            raise GrngError(
                f"a warm-up of {warmup} steps is not shorter than the run of {total} steps.",
                where="training.warmup",
                hint=f"Use a warm-up of at most {total - 1} steps, or train for longer.",
            )
        self._warmup = warmup
        if name == "step":
            assert decay_every is not None, "a config with schedule step has decay_every"
            self._scheduler: Scheduler = StepLRScheduler(
                optimizer, decay_every, decay_rate, warmup_t=warmup, warmup_prefix=True, t_in_epochs=False
            )
        else:
            self._scheduler = _scheduler(optimizer, name, total - warmup, warmup)

    def apply(self, step: int) -> None:
        """Set the learning rates for one step.

        Args:
            step: Steps done before this one.
        """
        # timm's warm-up is (k / W): one step on, it neither starts at 0 nor misses the full rate.
        self._scheduler.step_update(step + 1 if step < self._warmup else step)


def _scheduler(optimizer: torch.optim.Optimizer, name: ScheduleName, decay: int, warmup: int) -> Scheduler:
    if name == "constant" or decay == 1:
        return MultiStepLRScheduler(optimizer, decay_t=[], warmup_t=warmup, warmup_prefix=True, t_in_epochs=False)
    if name == "linear":
        return PolyLRScheduler(optimizer, decay, power=1.0, warmup_t=warmup, warmup_prefix=True, t_in_epochs=False)
    return CosineLRScheduler(optimizer, decay, warmup_t=warmup, warmup_prefix=True, t_in_epochs=False)
