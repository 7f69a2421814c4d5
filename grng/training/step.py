"""One training step: it asks the optimizer for its needs and for nothing else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from grng.training.clock import StepClock
from grng.training.contract import TrainableOptimizer
from grng.training.distributed import ALONE, World, unsynchronised
from grng.training.loss import Loss, correct
from grng.training.precision import Precision
from grng.training.replay import Replay
from grng.training.update import update


@dataclass(frozen=True, slots=True)
class StepRules:
    """How a step is done.

    Args:
        loss: The loss.
        precision: Of forward and loss; holds the loss scale.
        micro_batches: Equal parts that the batch is done in, one after the other.
        clip_grad: Largest norm of the gradient; None for any.
        world: The processes that share the batch.
        weight: What this process's mean loss counts for in the mean over processes (`Deal.weight`).
    """

    loss: Loss = field(default_factory=Loss)
    precision: Precision = field(default_factory=Precision)
    micro_batches: int = 1
    clip_grad: float | None = None
    world: World = ALONE
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One step's loss in nats before the update, and this batch's accuracy and diagnostics if they were asked for."""

    loss: float
    accuracy: float | None
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    stepped: bool = True
    """False where the loss is no number, and where a loss scale let the gradients overflow."""

    @property
    def finite(self) -> bool:
        """Whether the loss is a number; if not, the parameters were left as they were."""
        return math.isfinite(self.loss)


def train_step(
    model: nn.Module,
    optimizer: TrainableOptimizer,
    batch: Callable[[], tuple[Tensor, Tensor]],
    clock: StepClock,
    *,
    rules: StepRules | None = None,
    collect: bool = False,
) -> StepOutcome:
    """Do one step.

    Args:
        model: The model, in training mode; of several processes wrapped by `World.parallel`.
        optimizer: Its optimizer.
        batch: Fetches images [n, c, h, w] and targets, labels [n] or probabilities [n, classes], on the model's device;
            of several processes this one's part.
        clock: Measures the step.
        rules: How the step is done; None for the plain way.
        collect: Whether to measure this batch's accuracy and have the optimizer collect diagnostics.

    Returns:
        The outcome. No graph survives the step.
    """
    rules = rules or StepRules()
    optimizer.collect_diagnostics = collect
    with clock.step():
        with clock.phase("data"):
            images, targets = batch()
            parts = list(zip(images.chunk(rules.micro_batches), targets.chunk(rules.micro_batches), strict=True))
        replay = _replay(model, rules) if optimizer.needs_closure else None
        losses: list[float] = []
        shown: list[tuple[Tensor, Tensor]] = []
        for number, (some_images, some_targets) in enumerate(parts, start=1):
            # A gradient that keeps its graph is averaged by the optimizer, which forms H v of each process's own.
            with unsynchronised(model, optimizer.is_second_order or number < len(parts)):
                with clock.phase("forward"):
                    if replay is not None:
                        replay.remember(some_images, some_targets)
                    outputs, loss = _forward(model, rules, some_images, some_targets)
                    losses.append(rules.world.mean(loss.item()))
                if collect:
                    shown.append((outputs.detach(), some_targets))
                if not math.isfinite(losses[-1]):
                    break
                with clock.phase("observe"):
                    optimizer.observe(outputs, some_targets)
                with clock.phase("backward"):
                    _backward(rules.precision.scaled(loss), create_graph=optimizer.is_second_order)
        value = math.fsum(losses) if math.isfinite(losses[-1]) else losses[-1]
        stepped = False
        with clock.phase("optimizer"):
            if math.isfinite(value):
                stepped = update(
                    optimizer, rules.precision, clip_grad=rules.clip_grad, replay=replay, world=rules.world
                )
            optimizer.zero_grad(set_to_none=True)
    hits = [correct(outputs, targets) for outputs, targets in shown]
    return StepOutcome(value, _accuracy(torch.cat(hits), rules.world) if hits else None, stepped=stepped)


def _accuracy(hits: Tensor, world: World) -> float:
    """Return the share of the joined batch that is right: bool [n] of this process's part."""
    if not world.active:
        return hits.float().mean().item()
    right, count = world.totals([int(hits.sum()), len(hits)])
    return right / count


def _forward(model: nn.Module, rules: StepRules, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return a micro-batch's outputs, and its part of the step's loss: the parts add up to the mean over the batch."""
    with rules.precision.autocast():
        outputs = model(images)
        loss = rules.loss(outputs, targets)
    loss = loss if rules.micro_batches == 1 else loss / rules.micro_batches
    return outputs, loss if rules.weight == 1 else loss * rules.weight


def _backward(loss: Tensor, *, create_graph: bool) -> None:
    if not create_graph:
        torch.autograd.backward(loss)
        return
    with warnings.catch_warnings():
        # The cycle between parameter and gradient that torch warns of is broken by zero_grad at the end of the step.
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
        torch.autograd.backward(loss, create_graph=True)


def _replay(model: nn.Module, rules: StepRules) -> Replay:
    return Replay(model, lambda images, targets: _forward(model, rules, images, targets)[1], rules.precision.scaled)
