"""One training step: it asks the optimizer for its needs and for nothing else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grng.training.clock import StepClock


class Coverage(Protocol):
    """What the trainer reads of an optimizer's coverage."""

    def parameters(self, rule: str) -> int:
        """Return the number of parameter entries under a rule."""

    def summary(self) -> str:
        """Return it in one line."""

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return its rows."""


class TrainableOptimizer(Protocol):
    """What the trainer uses of an optimizer (docs/architecture.md, Optimizer)."""

    collect_diagnostics: bool
    param_groups: list[dict[str, Any]]
    is_second_order: bool
    needs_closure: bool

    def observe(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch's outputs and targets."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""

    def diagnostics(self) -> dict[str, float]:
        """Return plain floats of the last collected step."""

    def coverage(self) -> Coverage | None:
        """Return which parameter is stepped by which rule; None where one rule serves all."""

    def close(self) -> None:
        """Take the hooks off the model."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One step's loss in nats before the update, and this batch's accuracy and diagnostics if they were asked for."""

    loss: float
    accuracy: float | None
    diagnostics: Mapping[str, float] = field(default_factory=dict)

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
    collect: bool = False,
) -> StepOutcome:
    """Do one step.

    Args:
        model: The model, in training mode.
        optimizer: Its optimizer.
        batch: Fetches images [n, c, h, w] and labels [n], on the model's device.
        clock: Measures the step.
        collect: Whether to measure this batch's accuracy and have the optimizer collect diagnostics.

    Returns:
        The outcome. No graph survives the step.
    """
    optimizer.collect_diagnostics = collect
    with clock.step():
        with clock.phase("data"):
            images, labels = batch()
        with clock.phase("forward"):
            replay = _Replay(model, images, labels) if optimizer.needs_closure else None
            outputs = model(images)
            loss = F.cross_entropy(outputs, labels)
            value = loss.item()
        if math.isfinite(value):
            with clock.phase("observe"):
                optimizer.observe(outputs, labels)
            with clock.phase("backward"):
                _backward(loss, create_graph=optimizer.is_second_order)
            with clock.phase("optimizer"):
                if replay is None:
                    optimizer.step()
                else:
                    optimizer.step(lambda: replay.loss(optimizer))
                optimizer.zero_grad(set_to_none=True)
    accuracy = (outputs.detach().argmax(dim=1) == labels).float().mean().item() if collect else None
    return StepOutcome(value, accuracy)


def _backward(loss: Tensor, *, create_graph: bool) -> None:
    if not create_graph:
        torch.autograd.backward(loss)
        return
    with warnings.catch_warnings():
        # The cycle between parameter and gradient that torch warns of is broken by zero_grad at the end of the step.
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
        torch.autograd.backward(loss, create_graph=True)


class _Replay:
    """Recomputes loss and gradients on the step's batch at whatever weights the model then has.

    The pass draws the forward's own random numbers again (a difference of two gradients under different dropout masks
    is no derivative), and leaves generators and buffers (BatchNorm's running statistics) as it found them.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self._model = model
        self._images = images
        self._labels = labels
        self._cuda = [images.device.index or 0] if images.device.type == "cuda" else []
        self._cpu_state = torch.get_rng_state()
        self._cuda_states = [torch.cuda.get_rng_state(index) for index in self._cuda]

    def loss(self, optimizer: TrainableOptimizer) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        buffers = [(buffer, buffer.detach().clone()) for buffer in self._model.buffers()]
        with torch.enable_grad(), torch.random.fork_rng(devices=self._cuda):
            torch.set_rng_state(self._cpu_state)
            for index, state in zip(self._cuda, self._cuda_states, strict=True):
                torch.cuda.set_rng_state(state, index)
            loss = F.cross_entropy(self._model(self._images), self._labels)
            torch.autograd.backward(loss)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        return loss.detach()
