"""One measurement: before a training step and after it, on copies of the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from grng.diagnostics.names import DIAGNOSTICS, DiagnosticName
from grng.diagnostics.sample import FixedSample, Loss, gradient, replica, trainable
from grng.diagnostics.spectrum import Estimate, normal_vector
from grng.diagnostics.vectors import cosine, less, norm, pearson
from grng.errors import GrngError

Batch = tuple[Tensor, Tensor]
"""Images [n, c, h, w] and targets [n] or [n, classes], on the model's device."""

WHERE = "diagnostics.names"


class Diagnostics:
    """Measures a model's training; neither the model nor its optimizer is touched.

    The caller preserves the global random generators around each call: the mini-batch gradients draw dropout masks
    from them, so that they are those of the training step itself.

    Args:
        names: What to measure.
        sample: The fixed sample of the training set.
        loss: The loss of a training step.
        iterations: Hessian-vector products of `hessian_max` and of `hessian_trace`.
    """

    def __init__(self, names: Sequence[DiagnosticName], sample: FixedSample, *, loss: Loss, iterations: int) -> None:
        self.names = tuple(names)
        self.sample = sample
        self._loss = loss
        self._iterations = iterations

    def check(self, model: nn.Module) -> None:
        """Try on a part of the sample whether the model can be measured, before training begins.

        Raises:
            GrngError: The model cannot be copied, or an operator has no double backward and the Hessian is asked for.
        """
        try:
            copied = replica(model)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a module's own copying stumbles over
            text = " ".join(str(error).split()) or type(error).__name__
            raise GrngError(
                f"this model cannot be copied, and diagnostics are measured on a copy: {text.rstrip('.')}.",
                where=WHERE,
                hint="Train without diagnostics.",
            ) from error
        if not any(DIAGNOSTICS[name].hessian for name in self.names):
            return
        self.sample.prepare(copied)
        others = [name for name, info in DIAGNOSTICS.items() if not info.hessian]
        try:
            self.sample.product(copied, normal_vector(trainable(copied), 0), chunks=1)
        except GrngError as error:
            raise GrngError(
                f"the Hessian cannot be measured: {error.message}",
                where=WHERE,
                hint=f"Choose from {', '.join(others)}.",
            ) from error

    def before(self, model: nn.Module, batch: Callable[[], Batch]) -> Measurement:
        """Measure what is about the coming step.

        Args:
            model: In training mode, at the weights before the step.
            batch: Fetches the step's batch.
        """
        return Measurement(self, model, batch)

    def minibatch_gradient(self, model: nn.Module, batch: Batch) -> list[Tensor]:
        """Return ∇ of a batch's loss in the model's own modes, as a training step computes it."""
        copied = replica(model)
        images, targets = batch
        with torch.enable_grad():
            return gradient(self._loss(copied(images), targets), trainable(copied))

    def curvature(self, model: nn.Module) -> dict[str, float]:
        """Measure what is about the weights of a prepared replica alone."""
        values: dict[str, float] = {}
        estimates: dict[DiagnosticName, Callable[[], Estimate]] = {
            "hessian_max": lambda: self.sample.largest_eigenvalue(model, iterations=self._iterations),
            "hessian_trace": lambda: self.sample.trace(model, vectors=self._iterations),
        }
        for name, estimate in estimates.items():
            if name in self.names:
                found = estimate()
                values |= {name: found.value, str(DIAGNOSTICS[name].error): found.error}
        if "grad_norm" in self.names:
            values["grad_norm"] = norm(self.sample.gradient(model))
        return values


class Measurement:
    """The measurement of one step, between its two halves; made by `Diagnostics.before`."""

    def __init__(self, diagnostics: Diagnostics, model: nn.Module, batch: Callable[[], Batch]) -> None:
        self._diagnostics = diagnostics
        self._values: dict[str, float] = {}
        names = diagnostics.names
        self._minibatch: list[Tensor] = []
        self._sample: list[Tensor] = []
        self._weights: list[Tensor] = []
        if _among(names, "grad_correlation_consecutive", "grad_correlation_sample"):
            self._minibatch = diagnostics.minibatch_gradient(model, batch())
        if _among(names, "step_cosine", "grad_correlation_sample"):
            copied = replica(model)
            diagnostics.sample.prepare(copied)
            self._sample = diagnostics.sample.gradient(copied)
            self._weights = [parameter.detach() for parameter in trainable(copied)]
        if "grad_correlation_sample" in names:
            self._values["grad_correlation_sample"] = pearson(self._minibatch, self._sample)
        # What is kept while the step is taken adds to its memory.
        if "grad_correlation_consecutive" not in names:
            self._minibatch = []
        if "step_cosine" not in names:
            self._sample, self._weights = [], []

    def after(self, model: nn.Module, next_batch: Callable[[], Batch]) -> dict[str, float]:
        """Measure the rest.

        Args:
            model: In training mode, at the weights after the step.
            next_batch: Fetches the batch of the step that comes next.

        Returns:
            The values by name, in the order of `DIAGNOSTICS`; not a number where there is none.
        """
        diagnostics, names, values = self._diagnostics, self._diagnostics.names, self._values
        if "step_cosine" in names:
            step = less([parameter.detach() for parameter in trainable(model)], self._weights)
            values["step_cosine"] = -cosine(step, self._sample)
        if "grad_correlation_consecutive" in names:
            following = diagnostics.minibatch_gradient(model, next_batch())
            values["grad_correlation_consecutive"] = pearson(self._minibatch, following)
        if _among(names, "hessian_max", "hessian_trace", "grad_norm"):
            copied = replica(model)
            diagnostics.sample.prepare(copied)
            values |= diagnostics.curvature(copied)
        return {
            name: values[name]
            for info in DIAGNOSTICS.values()
            for name in (info.name, info.error)
            if name is not None and name in values
        }


def _among(names: Collection[str], *some: str) -> bool:
    return any(name in names for name in some)
