"""The loss of a fixed sample of the training set as a function of a model's weights: gradient and curvature.

    L(θ) = (1/n) Σ_chunks Σ_{b in chunk} ℓ(f(x_b; θ), y_b)

The sample is cut into chunks, since all of it may not fit into memory at once. Dropout and stochastic depth are off.
BatchNorm normalises with the statistics of each chunk (the function that training descends, with chunks for its
batches; L is then a function of the chunks, too) or with the running ones (the function that evaluations measure).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from grng.diagnostics.spectrum import Estimate, largest_eigenvalue, normal_vector, signs, trace_estimate
from grng.diagnostics.vectors import Vector, dot
from grng.optim.hessian import double_backprop

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs [n, classes], targets [n] or [n, classes]) -> the mean loss over the n samples."""
BatchNormMode = Literal["batch", "running"]

_LANCZOS, _HUTCHINSON = 0, 1  # coordinates of the streams of random vectors


def replica(model: nn.Module) -> nn.Module:
    """Return a copy of a model to measure with: whatever is done to it leaves no trace on the model.

    Buffers, modes and gradients are the copy's own, and hooks that an optimizer has on the model do nothing in it.
    """
    return copy.deepcopy(model)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradient(loss: Tensor, parameters: Sequence[nn.Parameter], *, create_graph: bool = False) -> list[Tensor]:
    """Return ∇loss, one tensor a parameter, zeros where the loss does not depend on it; `.grad` is left alone."""
    found = torch.autograd.grad(loss, parameters, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


class FixedSample:
    """A fixed sample of the training set.

    Args:
        images: float32 [n, c, h, w], n at least 2.
        labels: int64 [n].
        batch: Samples at once, at least 2; the chunks are of equal size as nearly as can be.
        batchnorm: `batch` for the statistics of each chunk, `running` for the running ones.
        device: The model's.
        loss: The mean loss of a batch.
        seed: Of a random vector, by its kind and number; the vectors are the same at every measurement.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        batch: int,
        batchnorm: BatchNormMode,
        device: torch.device,
        loss: Loss,
        seed: Callable[[int, int], int],
    ) -> None:
        self.samples = len(labels)
        self._chunks: list[tuple[Tensor, Tensor]] = list(zip(_cut(images, batch), _cut(labels, batch), strict=True))
        self._batchnorm = batchnorm
        self._device = device
        self._loss = loss
        self._seed = seed

    def prepare(self, model: nn.Module) -> None:
        """Put a replica into the modes in which the sample's loss is defined."""
        trained = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
        model.eval()
        if self._batchnorm == "batch":
            for module in trained:  # frozen ones normalise with their running statistics in training, too
                module.train()

    def gradient(self, model: nn.Module) -> list[Tensor]:
        """Return ∇L, one tensor a trained parameter, at the weights of a prepared replica."""
        parameters = trainable(model)
        total = [torch.zeros_like(p) for p in parameters]
        for loss in self._losses(model):
            torch._foreach_add_(total, gradient(loss, parameters))
        return total

    def largest_eigenvalue(self, model: nn.Module, *, iterations: int) -> Estimate:
        """Return the largest eigenvalue of ∇²L with its residual; see `spectrum.largest_eigenvalue`."""
        start = normal_vector(trainable(model), self._seed(_LANCZOS, 0))
        return largest_eigenvalue(lambda vector: self.product(model, vector), start, iterations=iterations)

    def trace(self, model: nn.Module, *, vectors: int) -> Estimate:
        """Return the trace of ∇²L with its standard error; see `spectrum.trace_estimate`."""
        parameters = trainable(model)
        forms = [0.0] * vectors
        with sdpa_kernel(SDPBackend.MATH):
            for loss in self._losses(model):  # one graph serves all vectors
                gradients = gradient(loss, parameters, create_graph=True)
                for index in range(vectors):
                    z = signs(parameters, self._seed(_HUTCHINSON, index))
                    forms[index] += dot(z, double_backprop(gradients, parameters, z, retain_graph=True))
        return trace_estimate(forms)

    def product(self, model: nn.Module, vector: Vector, *, chunks: int | None = None) -> list[Tensor]:
        """Return ∇²L v, one tensor a trained parameter, at the weights of a prepared replica.

        Args:
            model: The replica.
            vector: v.
            chunks: Only the first so many chunks' part; None: all.

        Raises:
            GrngError: An operator of the model has no double backward.
        """
        parameters = trainable(model)
        total = [torch.zeros_like(p) for p in parameters]
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no double backward
            for loss in self._losses(model, chunks):
                gradients = gradient(loss, parameters, create_graph=True)
                torch._foreach_add_(total, double_backprop(gradients, parameters, vector))
        return total

    def _losses(self, model: nn.Module, chunks: int | None = None) -> Iterator[Tensor]:
        """Yield each chunk's part of L, with its graph."""
        with torch.enable_grad():
            for images, labels in self._chunks[:chunks]:
                outputs = model(images.to(self._device))
                yield self._loss(outputs, labels.to(self._device)) * (len(labels) / self.samples)


def _cut(tensor: Tensor, batch: int) -> Sequence[Tensor]:
    count = math.ceil(len(tensor) / batch)
    # BatchNorm has no statistics of a single sample
    return torch.tensor_split(tensor, count if len(tensor) // count >= 2 else max(1, len(tensor) // 2))
