"""Likelihoods: what the loss of one sample is, and how labels are drawn from the model's own predictive distribution.

The Fisher information matrix is an expectation over labels drawn from the *model*, `F = E_x E_{y ~ p(y|x)} [∇ℓ ∇ℓᵀ]`.
All that curvature needs of a likelihood is therefore the gradient of the per-sample loss with respect to the model's
outputs, for labels that are sampled, enumerated exactly, or the data's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from grng.errors import GrngError


class Likelihood(Protocol):
    """A predictive distribution over targets, given the model's outputs `z` of shape `[batch, outputs]`."""

    name: str

    def check(self, outputs: Tensor, targets: Tensor, *, values: bool = True) -> None:
        """Raise GrngError unless outputs and targets fit this likelihood."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the per-sample losses ℓ_b, `[batch]`."""

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ∂ℓ_b/∂z_b for given targets, `[batch, outputs]`."""

    def noise_shape(self, outputs: Tensor) -> tuple[int, ...]:
        """Return the shape of the uniform numbers that `sampled_gradient` takes; the first dimension is the batch."""

    def sampled_gradient(self, outputs: Tensor, uniforms: Tensor) -> Tensor:
        """Return ∂ℓ_b/∂z_b for labels drawn from the model itself, `[batch, outputs]`."""

    def exact_gradients(self, outputs: Tensor) -> Iterator[Tensor]:
        """Yield `[batch, outputs]` matrices u with `Σ u uᵀ = E_y [∂ℓ/∂z ∂ℓ/∂zᵀ]` for every sample."""


class Categorical:
    """Softmax cross-entropy: ℓ_b = −log softmax(z_b)[y_b].

    Targets are class indices `[batch]` or probabilities `[batch, classes]`.
    """

    name = "categorical"

    def check(self, outputs: Tensor, targets: Tensor, *, values: bool = True) -> None:
        """Raise GrngError unless outputs are `[batch, classes]` and targets fit them."""
        _check_matrix(self.name, outputs)
        if targets.shape == outputs.shape and targets.is_floating_point():
            if values:
                _check_range(self.name, targets, 0.0, float("inf"), "probabilities, at least 0")
            return
        if targets.shape != outputs.shape[:1] or targets.is_floating_point() or targets.dtype == torch.bool:
            raise GrngError(
                f"likelihood 'categorical' got outputs of shape {list(outputs.shape)} and {_described(targets)}.",
                where="observe",
                hint="Pass class indices (whole numbers) of shape [batch], or class probabilities of the outputs' "
                "shape.",
            )
        if values:
            _check_range(self.name, targets, 0, outputs.shape[1] - 1, f"classes from 0 to {outputs.shape[1] - 1}")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return −log softmax(z_b)[y_b], `[batch]`."""
        if targets.is_floating_point():
            targets = targets.to(outputs.dtype)
        return F.cross_entropy(outputs, targets, reduction="none")

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return softmax(z) − y, `[batch, classes]`."""
        if not targets.is_floating_point():
            targets = F.one_hot(targets.long(), outputs.shape[1])
        return outputs.softmax(dim=1) - targets.to(outputs.dtype)

    def noise_shape(self, outputs: Tensor) -> tuple[int, ...]:
        """One uniform number a sample: `[batch]`."""
        return (outputs.shape[0],)

    def sampled_gradient(self, outputs: Tensor, uniforms: Tensor) -> Tensor:
        """Return softmax(z) − onehot(ŷ), ŷ ~ softmax(z) by inversion of the cumulative distribution."""
        probabilities = outputs.softmax(dim=1)
        cumulative = probabilities.to(uniforms.dtype).cumsum(dim=1)
        # the last entry is 1 up to rounding; a uniform above it must still give a class
        labels = torch.searchsorted(cumulative, uniforms[:, None]).squeeze(1).clamp_(max=outputs.shape[1] - 1)
        return probabilities - F.one_hot(labels, outputs.shape[1]).to(outputs.dtype)

    def exact_gradients(self, outputs: Tensor) -> Iterator[Tensor]:
        """Yield √μ_c (μ − onehot(c)) for every class c."""
        probabilities = outputs.softmax(dim=1)
        identity = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
        for label in range(outputs.shape[1]):
            yield probabilities[:, label : label + 1].sqrt() * (probabilities - identity[label])


class Bernoulli:
    """Independent binary outputs (multi-label): ℓ_b = Σ_c −y_bc log σ(z_bc) − (1 − y_bc) log(1 − σ(z_bc)).

    Targets are probabilities in [0, 1] of the outputs' shape `[batch, outputs]`. The sum over outputs is what makes ℓ_b
    a negative log-likelihood: torch's `binary_cross_entropy_with_logits` by default divides it by their number.
    """

    name = "bernoulli"

    def check(self, outputs: Tensor, targets: Tensor, *, values: bool = True) -> None:
        """Raise GrngError unless outputs and targets are both `[batch, outputs]` and targets lie in [0, 1]."""
        _check_matrix(self.name, outputs)
        if targets.shape != outputs.shape or not targets.is_floating_point():
            raise GrngError(
                f"likelihood 'bernoulli' got outputs of shape {list(outputs.shape)} and {_described(targets)}.",
                where="observe",
                hint="Pass targets as floats between 0 and 1, of the outputs' shape.",
            )
        if values:
            _check_range(self.name, targets, 0.0, 1.0, "targets between 0 and 1: labels, or the probability of a 1")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return Σ_c of the binary cross-entropy, `[batch]`."""
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), reduction="none").sum(dim=1)

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return σ(z) − y, `[batch, outputs]`."""
        return outputs.sigmoid() - targets.to(outputs.dtype)

    def noise_shape(self, outputs: Tensor) -> tuple[int, ...]:
        """One uniform number an output: `[batch, outputs]`."""
        return tuple(outputs.shape)

    def sampled_gradient(self, outputs: Tensor, uniforms: Tensor) -> Tensor:
        """Return σ(z) − ŷ with ŷ_c = 1 where the uniform number lies below σ(z_c)."""
        probabilities = outputs.sigmoid()
        return probabilities - (uniforms < probabilities.to(uniforms.dtype)).to(outputs.dtype)

    def exact_gradients(self, outputs: Tensor) -> Iterator[Tensor]:
        """Yield √(μ_c (1 − μ_c)) times the unit vector of every output c: E[(μ − y)(μ − y)ᵀ] is diagonal."""
        # σ(−z) and not 1 − σ(z), which is 0 for large z
        deviations = (outputs.sigmoid() * (-outputs).sigmoid()).sqrt()
        for index in range(outputs.shape[1]):
            column = torch.zeros_like(outputs)
            column[:, index] = deviations[:, index]
            yield column


class Gaussian:
    """Squared error with unit variance: ℓ_b = ½ ‖z_b − y_b‖²; targets have the outputs' shape `[batch, outputs]`."""

    name = "gaussian"

    def check(self, outputs: Tensor, targets: Tensor, *, values: bool = True) -> None:
        """Raise GrngError unless outputs and targets are both `[batch, outputs]`."""
        _check_matrix(self.name, outputs)
        if targets.shape != outputs.shape:
            raise GrngError(
                f"likelihood 'gaussian' got outputs of shape {list(outputs.shape)} and {_described(targets)}.",
                where="observe",
                hint="Pass targets of the outputs' shape.",
            )
        if targets.is_floating_point():
            largest = torch.finfo(targets.dtype).max
            if values:
                _check_range(self.name, targets, -largest, largest, "finite targets")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return ½ ‖z_b − y_b‖², `[batch]`."""
        return 0.5 * (outputs - targets).square().sum(dim=1)

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return z − y, `[batch, outputs]`."""
        return outputs - targets.to(outputs.dtype)

    def noise_shape(self, outputs: Tensor) -> tuple[int, ...]:
        """One uniform number an output: `[batch, outputs]`."""
        return tuple(outputs.shape)

    def sampled_gradient(self, outputs: Tensor, uniforms: Tensor) -> Tensor:
        """Return z − ŷ with ŷ ~ N(z, I)."""
        tiny = torch.finfo(uniforms.dtype).tiny
        noise: Tensor = torch.special.ndtri(uniforms.clamp(min=tiny))
        return -noise.to(outputs.dtype)

    def exact_gradients(self, outputs: Tensor) -> Iterator[Tensor]:
        """Yield the unit vectors: E[(z − y)(z − y)ᵀ] = I."""
        for index in range(outputs.shape[1]):
            unit = torch.zeros_like(outputs)
            unit[:, index] = 1.0
            yield unit


LIKELIHOODS: dict[str, Likelihood] = {
    likelihood.name: likelihood for likelihood in (Categorical(), Bernoulli(), Gaussian())
}


def _check_matrix(name: str, outputs: Tensor) -> None:
    if outputs.dim() != 2 or not outputs.is_floating_point():
        raise GrngError(
            f"likelihood {name!r} needs outputs as floats of shape [batch, outputs], got {_described(outputs)}.",
            where="observe",
            hint="Pass the logits as the model returns them.",
        )


def _check_range(name: str, targets: Tensor, low: float, high: float, allowed: str) -> None:
    # asked this way round, NaN fails
    if not bool(((targets >= low) & (targets <= high)).all()):
        raise GrngError(
            f"likelihood {name!r} got targets between {float(targets.min()):g} and {float(targets.max()):g}.",
            where="observe",
            hint=f"Pass {allowed}.",
        )


def _described(values: Tensor) -> str:
    return f"a {str(values.dtype).removeprefix('torch.')} tensor of shape {list(values.shape)}"
