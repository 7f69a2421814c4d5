"""A step's forward and backward once more, for optimizers that need a closure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grng.training.distributed import unsynchronised


@dataclass(frozen=True, slots=True)
class _Pass:
    """One forward: its micro-batch, the part of the loss that it is, and the generators' states before it."""

    images: Tensor
    targets: Tensor
    cpu_state: Tensor
    cuda_states: list[Tensor]


class Replay:
    """Recomputes loss and gradients on the step's micro-batches at whatever weights the model then has.

    The pass draws each forward's own random numbers again (a difference of two gradients under different dropout masks
    is no derivative), and leaves generators and buffers (BatchNorm's running statistics) as it found them.

    Args:
        model: The model.
        loss: Returns a micro-batch's part of the step's loss with its graph, given images and targets.
        scaled: Returns what backward is given for a loss.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], scaled: Callable[[Tensor], Tensor]
    ) -> None:
        self._model = model
        self._loss = loss
        self._scaled = scaled
        self._passes: list[_Pass] = []
        self._cuda: list[int] = []
        self.factor: Tensor | None = None
        """What gradients are multiplied by in the end; None: nothing."""

    def remember(self, images: Tensor, targets: Tensor) -> None:
        """Take note of a micro-batch, before its forward."""
        self._cuda = [images.device.index or 0] if images.device.type == "cuda" else []
        states = [torch.cuda.get_rng_state(index) for index in self._cuda]
        self._passes.append(_Pass(images, targets, torch.get_rng_state(), states))

    def __call__(self, parameters: list[nn.Parameter]) -> Tensor:
        """Put the gradients in `.grad` of `parameters`, in place of what is there; return the loss in nats."""
        for p in parameters:
            p.grad = None
        total: Tensor | None = None
        for number, part in enumerate(self._passes, start=1):
            with unsynchronised(self._model, number < len(self._passes)):
                value = self._repeat(part)
            total = value if total is None else total + value
        if self.factor is not None:
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], self.factor)
        assert total is not None, "a step has a forward"
        return total

    def _repeat(self, part: _Pass) -> Tensor:
        buffers = [(buffer, buffer.detach().clone()) for buffer in self._model.buffers()]
        with torch.enable_grad(), torch.random.fork_rng(devices=self._cuda):
            torch.set_rng_state(part.cpu_state)
            for index, state in zip(self._cuda, part.cuda_states, strict=True):
                torch.cuda.set_rng_state(state, index)
            loss = self._loss(part.images, part.targets)
            torch.autograd.backward(self._scaled(loss))
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        return loss.detach()
