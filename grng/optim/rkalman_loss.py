"""`observation="loss"`: the batch's residual projected on itself, one row, at the cost of the ordinary backward.

    h = −B g,  innovation ν = D,  noise R = EMA of D (this batch's included),  D = 2 Σ_b ℓ_b (deviance)
    S = hᵀPh + R,  K = P h / S,  Δθ = K ν,  P ← P − diag(K hᵀ P)

For one sample, a scalar linear model and Gaussian noise this *is* the Kalman filter. `update="information"` replaces
the last line by the diagonal Gauss-Newton precision, P ← P ⊘ (1 + P ⊙ B² ĝ⊙ĝ) with ĝ the mean gradient for labels
sampled from the model (one more pass), Δθ = −P B g with the P after the update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from grng.curvature.precision import inner_product, wide, wide_zeros
from grng.optim.fisher import DiagonalSum
from grng.optim.joining import join_diagonals
from grng.optim.rkalman_filter import GlobalFilter, Tensors

if TYPE_CHECKING:
    from grng.optim.rkalman import RKalman


class LossFilter(GlobalFilter):
    """Observes the batch's loss.

    Args:
        values: The optimizer's hyperparameters, defaults filled in.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.noise_ema: float | None = values["noise_ema"]
        self.noise, self.noise_updates = 0.0, 0
        self._deviance = 0.0
        self._observed: dict[nn.Parameter, DiagonalSum] = {}

    def observe(self, optimizer: RKalman, outputs: Tensor, targets: Tensor) -> None:
        """Add the deviance and, for `update="information"`, the gradient for sampled labels."""
        losses = optimizer.likelihood.losses(wide(outputs.detach()), targets)
        self._deviance += 2.0 * float(losses.double().sum())
        if self.update == "information":
            cotangent, _ = optimizer.sampled_cotangent(outputs)
            held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            for p, gradient in zip(held, optimizer.gradients_of_outputs(outputs, list(held), cotangent), strict=True):
                self._observed.setdefault(p, DiagonalSum()).add(gradient)

    def forget(self) -> None:
        """Forget the deviance and the gradient for sampled labels."""
        self._deviance, self._observed = 0.0, {}

    def steps(self, optimizer: RKalman, gradients: Tensors, covariance: Tensors) -> Tensors:
        """Return Δθ / lr, and lower P."""
        (deviance,), self._deviance = optimizer.processes.totals([self._deviance]), 0.0
        if self.update == "information":
            held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            join_diagonals(optimizer.processes, self._observed, held)
            return self._information_steps(gradients, covariance, optimizer.samples)
        return self._gain_steps(
            gradients, covariance, optimizer.samples, deviance, report=optimizer.collect_diagnostics
        )

    def _gain_steps(
        self, gradients: Tensors, covariance: Tensors, batch: int, deviance: float, *, report: bool
    ) -> Tensors:
        """Return Δθ / lr = K ν, and lower P by diag(K hᵀ P) (`update="joint"`)."""
        assert self.noise_ema is not None
        if not math.isfinite(deviance):
            return {p: wide_zeros(p) for p in gradients}  # an infinite loss must not stay in the noise's average
        self.noise = self.noise_ema * self.noise + (1.0 - self.noise_ema) * deviance
        self.noise_updates += 1
        noise = self.noise / (1.0 - self.noise_ema**self.noise_updates)
        variances, vectors = [covariance[p] for p in gradients], list(gradients.values())
        gains = torch._foreach_mul([wide(vector) for vector in vectors], variances)  # P g
        spread = inner_product(gains, vectors)
        innovation_variance = batch**2 * spread + noise
        if not bool(innovation_variance > 0):
            # a loss of zero with no gradient leaves nothing to learn
            return {p: wide_zeros(p) for p in gradients}
        factor = -batch * deviance / innovation_variance
        if self.update == "joint":
            falls = torch._foreach_mul(gains, gains)
            share = batch**2 / innovation_variance
            torch._foreach_mul_(falls, [share.to(fall.dtype) for fall in falls])
            self.lower(variances, falls)
        if report:
            self.last = {"innovation": deviance, "innovation_variance": float(innovation_variance), "noise": noise}
        torch._foreach_mul_(gains, [factor.to(gain.dtype) for gain in gains])
        return dict(zip(gradients, gains, strict=True))

    def _information_steps(self, gradients: Tensors, covariance: Tensors, batch: int) -> Tensors:
        """Lower P by the precision B² ĝ⊙ĝ, and return −P B g with the P after the update."""
        observed, self._observed = self._observed, {}
        estimates = {p: found for p, diagonal in observed.items() if (found := diagonal.estimate(batch)) is not None}
        informed = [p for p in estimates if p in covariance]
        self.inform([covariance[p] for p in informed], [batch * estimates[p] for p in informed])  # B · (B ĝ⊙ĝ)
        self.last = {}
        gains = torch._foreach_mul([covariance[p] for p in gradients], list(gradients.values()))
        torch._foreach_mul_(gains, -float(batch))
        return dict(zip(gradients, gains, strict=True))

    def state(self) -> dict[str, Any]:
        """Return the moving average of the noise."""
        return {"noise": self.noise, "noise_updates": self.noise_updates}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """Load the moving average of the noise."""
        self.noise, self.noise_updates = float(saved["noise"]), int(saved["noise_updates"])
