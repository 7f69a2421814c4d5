"""R-Kalman: natural gradient as a Kalman filter on the weights, regularised; no Fisher matrix is ever inverted.

θ is a hidden state with covariance P (a variance per entry, or per tensor). With g the mean gradient of a batch of B
samples, per step:

    1. predict      P ← min(P/γ + q, P₀)
    2. regularise   P ← P ⊘ (1 + B ρ ‖g‖² P)                 adds the precision B ρ‖g‖² I; a batch adds B F, so this is
    L_G's quadratic model
    3. observe      h = −B g,  innovation ν = D,  noise R = EMA of D (this batch's included),  D = 2 Σ_b ℓ_b (deviance)
                    S = hᵀPh + R,  K = P h / S,  θ ← θ + lr · K ν,  P ← P − diag(K hᵀ P)

For one sample, a scalar linear model and Gaussian noise this *is* the Kalman filter. `update="information"` replaces
the last line by the diagonal Gauss-Newton precision, P ← P ⊘ (1 + P ⊙ B² ĝ⊙ĝ) with ĝ the mean gradient for labels
sampled from the model (one more pass), θ ← θ − lr · P B g.

Source: *Gradient Regularized Natural Gradients* (Dash, Abdi, Pan, Kaski, Sun; arXiv 2601.18420) for the idea (Bayesian,
a regularised Kalman filter, no inversion of the Fisher matrix). The recursion was derived here, since the paper's own
text was not available, from Ollivier 2017 (arXiv 1703.00209: the extended Kalman filter on static parameters is online
natural gradient) and LoKO (arXiv 2410.11551: the diagonal filter).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grng.optim import hyperparameters as hp
from grng.optim.base import CurvatureOptimizer, ParamsInput, parameter_groups
from grng.optim.fisher import DiagonalSum
from grng.optim.hyperparameters import checked, refuse_ineffective


class RKalman(CurvatureOptimizer):
    """R-Kalman with the batch's loss as its observation.

    Args:
        model: The model.
        params: Parameters or groups of the model; None for all trainable ones.
        lr: η, scales the filter's gain; 1 is the filter itself.
        rho: ρ, strength of the gradient regularisation.
        initial_covariance: P₀, initial and largest variance.
        forgetting: γ, fading memory.
        process_noise: q.
        noise_ema: Decay of the moving average that serves as R (`update="joint"` and `"none"`).
        covariance: `diagonal` or `block` (one variance a tensor).
        update: `joint`, `information` or `none` (P is not lowered by the observation).
        observation: `loss`.
        momentum: β: m ← β m + (1−β) Δθ, bias-corrected.
        weight_decay: Decoupled: θ ← θ − lr·w·θ.
        likelihood: `categorical` or `gaussian`.
        seed: Of the optimizer's own generator (sampled labels).

    Raises:
        HyperparameterError: A value of the wrong type or out of range, or one that has no effect with the others.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: hp.LearningRate = 2.0,
        rho: hp.Rho = 0.17,
        initial_covariance: hp.InitialCovariance = 0.14,
        forgetting: hp.Forgetting = 0.9,
        process_noise: hp.ProcessNoise = 0.0,
        noise_ema: hp.NoiseEMA = 0.9,
        covariance: hp.Covariance = "diagonal",
        update: hp.CovarianceUpdate = "joint",
        observation: hp.Observation = "loss",
        momentum: hp.Momentum = 0.9,
        weight_decay: hp.WeightDecay = 0.0,
        likelihood: hp.LikelihoodName = "categorical",
        seed: int = 0,
    ) -> None:
        checked(RKalman, locals())
        self.rho, self.initial_covariance, self.forgetting, self.process_noise = (
            rho,
            initial_covariance,
            forgetting,
            process_noise,
        )
        self.noise_ema, self.covariance, self.update = noise_ema, covariance, update
        self.noise, self.noise_updates = 0.0, 0
        self._deviance = 0.0
        self._observed: dict[nn.Parameter, DiagonalSum] = {}
        self._last: dict[str, float] = {}
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(model, parameter_groups(model, params), defaults, likelihood=likelihood, seed=seed)

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        if values["update"] == "information":
            refuse_ineffective(values, "noise_ema", neutral=0.9, because="update=information, which has no noise R")

    def _observe(self, outputs: Tensor, targets: Tensor) -> None:
        losses = self.likelihood.losses(outputs.detach(), targets)
        self._deviance += 2.0 * float(losses.double().sum())
        if self.update == "information":
            cotangent, _ = self.sampled_cotangent(outputs)
            held = [p for group in self.param_groups for p in group["params"]]
            for p, gradient in zip(held, self.gradients_of_outputs(outputs, list(held), cotangent), strict=True):
                self._observed.setdefault(p, DiagonalSum()).add(gradient)

    def _step(self, closure: Callable[[], float] | None) -> None:
        gradients = {p: p.grad.detach() for group in self.param_groups for p in group["params"] if p.grad is not None}
        batch, deviance, self._deviance = self.samples, self._deviance, 0.0
        if not gradients:
            return
        square = torch.stack(
            [norm.square() for norm in torch._foreach_norm(list(gradients.values()), dtype=torch.float64)]
        ).sum()
        covariance = {p: self._predicted(p, batch * self.rho * square) for p in gradients}
        if self.update == "information":
            steps = self._information_steps(gradients, covariance, batch)
        else:
            steps = self._loss_steps(gradients, covariance, batch, deviance)
        for group in self.param_groups:
            for p in group["params"]:
                if p in steps:
                    self._move(p, steps[p], group)
        if self.collect_diagnostics:
            self._last |= self._covariance_summary(list(gradients))

    def _predicted(self, p: nn.Parameter, precision: Tensor) -> Tensor:
        """Predict and regularise: P ← min(P/γ + q, P₀), then P ⊘ (1 + precision · P); `precision` is B ρ ‖g‖²."""
        state = self.state[p]
        if "covariance" not in state:
            shape = p.shape if self.covariance == "diagonal" else ()
            state["covariance"] = torch.full(
                shape, self.initial_covariance, dtype=torch.promote_types(p.dtype, torch.float32), device=p.device
            )
        variance: Tensor = state["covariance"]
        variance.div_(self.forgetting).add_(self.process_noise).clamp_(max=self.initial_covariance)
        return variance.div_(1.0 + precision.to(variance.dtype) * variance)

    def _loss_steps(
        self, gradients: dict[nn.Parameter, Tensor], covariance: dict[nn.Parameter, Tensor], batch: int, deviance: float
    ) -> dict[nn.Parameter, Tensor]:
        """Return Δθ / lr = K ν, and lower P by diag(K hᵀ P) (`update="joint"`)."""
        self.noise = self.noise_ema * self.noise + (1.0 - self.noise_ema) * deviance
        self.noise_updates += 1
        noise = self.noise / (1.0 - self.noise_ema**self.noise_updates)
        gains = {p: covariance[p] * gradient for p, gradient in gradients.items()}  # P g
        spread = torch.stack([(gains[p] * gradients[p]).sum(dtype=torch.float64) for p in gradients]).sum()
        innovation_variance = batch**2 * spread + noise
        if not bool(innovation_variance > 0):
            return {
                p: torch.zeros_like(p) for p in gradients
            }  # a loss of zero with no gradient leaves nothing to learn
        factor = -batch * deviance / innovation_variance
        if self.update == "joint":
            for p, gain in gains.items():
                fall = gain.square() * (batch**2 / innovation_variance).to(gain.dtype)
                # rounding must not make a variance negative
                covariance[p].sub_(fall if self.covariance == "diagonal" else fall.mean()).clamp_(min=0.0)
        if self.collect_diagnostics:
            self._last = {"innovation": deviance, "innovation_variance": float(innovation_variance), "noise": noise}
        return {p: gain * factor.to(gain.dtype) for p, gain in gains.items()}

    def _information_steps(
        self, gradients: dict[nn.Parameter, Tensor], covariance: dict[nn.Parameter, Tensor], batch: int
    ) -> dict[nn.Parameter, Tensor]:
        """Lower P by the precision B² ĝ⊙ĝ, and return −P B g with the P after the update."""
        observed, self._observed = self._observed, {}
        for p, diagonal in observed.items():
            estimate = diagonal.estimate(batch)
            if estimate is None or p not in covariance:
                continue
            information = batch * estimate  # B · (B ĝ⊙ĝ)
            variance = covariance[p]
            variance.div_(1.0 + variance * (information if self.covariance == "diagonal" else information.mean()))
        self._last = {}
        return {p: covariance[p] * gradient * -float(batch) for p, gradient in gradients.items()}

    def _move(self, p: nn.Parameter, step: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            p.mul_(1.0 - group["lr"] * group["weight_decay"])
        if group["momentum"]:
            state = self.state[p]
            if "momentum_buffer" not in state:
                state.update(momentum_buffer=torch.zeros_like(p), momentum_updates=0)
            state["momentum_updates"] += 1
            buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(step, alpha=1.0 - group["momentum"])
            step = buffer / (1.0 - group["momentum"] ** state["momentum_updates"])
        p.add_(step, alpha=group["lr"])

    def _covariance_summary(self, parameters: list[nn.Parameter]) -> dict[str, float]:
        variances = [self.state[p]["covariance"] for p in parameters]
        sizes = [p.numel() if self.covariance == "block" else 1 for p in parameters]
        return {
            "covariance_trace": sum(
                float(variance.sum(dtype=torch.float64)) * size for variance, size in zip(variances, sizes, strict=True)
            ),
            "covariance_max": max(float(variance.max()) for variance in variances),
            "covariance_min": min(float(variance.min()) for variance in variances),
        }

    def _own_diagnostics(self) -> dict[str, float]:
        return dict(self._last)

    def _extra_state(self) -> dict[str, Any]:
        return {"noise": self.noise, "noise_updates": self.noise_updates}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        self.noise, self.noise_updates = float(extra["noise"]), int(extra["noise_updates"])
