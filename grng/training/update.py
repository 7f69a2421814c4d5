"""From gradients to the optimizer's step: clipping, the loss scale, and the closure."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from grng.training.contract import TrainableOptimizer
from grng.training.distributed import ALONE, World
from grng.training.precision import Precision
from grng.training.replay import Replay


def update(
    optimizer: TrainableOptimizer,
    precision: Precision,
    *,
    clip_grad: float | None,
    replay: Replay | None,
    world: World = ALONE,
) -> bool:
    """Clip the gradients and take the optimizer's step, or skip it where the loss scale let them overflow.

    Returns whether the step was taken.

    Clipping multiplies the gradient g by c ≤ 1 in place. A graph of g, from which H v is formed, is that of the
    unclipped gradient: the Hessian stays the loss's. A closure's gradients are multiplied by the same c, and the
    optimizer is told of it.

    Args:
        optimizer: Its gradients are those of the whole step.
        precision: Holds the loss scale.
        clip_grad: Largest norm of all gradients together; None for any.
        replay: Recomputes the gradients, where the optimizer needs a closure.
        world: The processes that share the batch.
    """
    scaler = precision.scaler
    two_passes = optimizer.is_second_order or optimizer.needs_closure
    if clip_grad is not None:
        if world.active and optimizer.is_second_order:
            optimizer.average_gradients()  # they are this process's own as yet, and would be clipped differently
        scale = 1.0
        if scaler is not None and two_passes:
            scale = scaler.get_scale()  # such a step takes the scale off by itself
        elif scaler is not None:
            scaler.unscale_(_torch(optimizer))
        factor = clip_gradients(_parameters(optimizer), clip_grad * scale)
        if replay is not None:
            replay.factor, optimizer.gradient_factor = factor, float(factor)
    closure = None if replay is None else lambda: replay(_parameters(optimizer))
    try:
        if scaler is None:
            optimizer.step() if closure is None else optimizer.step(closure)
            return True
        return _scaled_step(optimizer, precision, scaler, closure, two_passes=two_passes)
    finally:
        if replay is not None and clip_grad is not None:
            optimizer.gradient_factor = 1.0


def clip_gradients(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """Shorten the gradients, taken as one vector, to the norm `largest`; return the factor c, a scalar tensor."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, largest)
    return (largest / (norm.detach() + 1e-6)).clamp(max=1.0)  # as clip_grad_norm_ has it


def _scaled_step(
    optimizer: TrainableOptimizer,
    precision: Precision,
    scaler: torch.amp.GradScaler,
    closure: Any,
    *,
    two_passes: bool,
) -> bool:
    """Step under a loss scale, which hears nothing of a second pass that overflows where the first did not."""
    before, skipped = scaler.get_scale(), getattr(optimizer, "skipped_steps", 0)
    scaler.step(_torch(optimizer), closure)
    overflowed = two_passes and getattr(optimizer, "skipped_steps", 0) > skipped
    scaler.update(before / 2 if overflowed else None)
    lowered = scaler.get_scale() < before
    precision.skipped_steps += lowered
    return not lowered


def _torch(optimizer: TrainableOptimizer) -> torch.optim.Optimizer:
    return cast(torch.optim.Optimizer, optimizer)


def _parameters(optimizer: TrainableOptimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]
