"""Sophia: a diagonal second-order method with clipping (Liu et al. 2023, arXiv 2305.14342).

    m ← β₁ m + (1 − β₁) g
    every k steps: h ← β₂ h + (1 − β₂) ĥ
    θ ← θ − lr·w·θ − lr · clip( m / max(γ h, ε), 1 )

Sophia-G (`estimator="gnb"`): ĥ = B ĝ ⊙ ĝ, with ĝ the mini-batch gradient for labels *sampled from the model*
(Gauss-Newton-Bartlett). Several public
versions square the data's gradient instead, which estimates something else. Sophia-H (`"hutchinson"`): ĥ = u ⊙ (H u), u
~ N(0, I), by double backprop. As in the paper neither average is bias-corrected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from grng.curvature.precision import wide, wide_zeros
from grng.optim import hyperparameters as hp
from grng.optim.base import CurvatureOptimizer
from grng.optim.fisher import DiagonalSum
from grng.optim.groups import ParamsInput, parameter_groups
from grng.optim.hessian import MathAttention, free_graph, silence_create_graph_warning
from grng.optim.hyperparameters import checked
from grng.optim.joining import join_diagonals
from grng.optim.loss_scale import refuse_overflow, scaled_double_backprop

Estimator = Annotated[Literal["gnb", "hutchinson"], hp.Meaning("", "estimator of the diagonal curvature")]


class Sophia(CurvatureOptimizer):
    """Sophia-G and Sophia-H.

    Args:
        model: The model.
        params: Parameters or groups of the model; None for all trainable ones.
        lr: η; the change of a clipped entry per step.
        betas: β₁ (momentum), β₂ (curvature).
        gamma: γ in m / max(γh, ε): the larger, the fewer entries are clipped.
        eps: ε.
        weight_decay: Decoupled: θ ← θ − lr·w·θ.
        hessian_interval: k, steps between curvature estimates.
        estimator: `gnb` (Sophia-G) or `hutchinson` (Sophia-H).
        likelihood: `categorical`, `bernoulli` or `gaussian`.
        seed: Of the optimizer's own generator (sampled labels, Hutchinson vectors).

    Raises:
        HyperparameterError: A value of the wrong type or out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: hp.LearningRate = 0.0013,
        betas: hp.Betas = (0.96, 0.99),
        gamma: hp.Gamma = 0.4,
        eps: hp.Epsilon = 1e-12,
        weight_decay: hp.WeightDecay = 0.01,
        hessian_interval: hp.HessianInterval = 10,
        estimator: Estimator = "gnb",
        likelihood: hp.LikelihoodName = "categorical",
        seed: int = 0,
    ) -> None:
        checked(Sophia, locals())
        self.estimator = estimator
        self.hessian_interval = hessian_interval
        self._clipped_share = 0.0
        self._observed: dict[nn.Parameter, DiagonalSum] = {}
        defaults = {"lr": lr, "betas": betas, "gamma": gamma, "eps": eps, "weight_decay": weight_decay}
        super().__init__(model, parameter_groups(model, params), defaults, likelihood=likelihood, seed=seed)
        self._attention: MathAttention | None = None
        if estimator == "hutchinson":
            silence_create_graph_warning()
            self._attention = MathAttention(model, self._second_order_due)

    def _copied(self) -> None:
        super()._copied()
        if self.estimator == "hutchinson":
            silence_create_graph_warning()  # the copy may be in another process

    @property
    def hessian_due(self) -> bool:
        """Whether the coming step estimates the curvature."""
        return self.steps % self.hessian_interval == 0

    @property
    def is_second_order(self) -> bool:
        """Whether this step forms H u by double backprop."""
        return self._second_order_due()

    def _second_order_due(self) -> bool:
        return self.estimator == "hutchinson" and self.hessian_due

    def _needs_outputs(self) -> bool:
        return self.estimator == "gnb" and self.hessian_due

    def _observe(self, outputs: Tensor, targets: Tensor) -> None:
        if self.estimator != "gnb" or not self.hessian_due:
            return
        cotangent, _ = self.sampled_cotangent(outputs)
        held = [p for p in self._held() if p.requires_grad]
        for p, gradient in zip(held, self.gradients_of_outputs(outputs, list(held), cotangent), strict=True):
            self._observed.setdefault(p, DiagonalSum()).add(gradient)

    def _held(self) -> list[nn.Parameter]:
        return [p for group in self.param_groups for p in group["params"]]

    def _forget(self) -> None:
        self._observed = {}

    def _estimates(self, gradients: dict[nn.Parameter, Tensor]) -> dict[nn.Parameter, Tensor]:
        """Return ĥ per parameter where an estimate is due, else nothing."""
        if not self.hessian_due:
            return {}
        if self.estimator == "gnb":
            observed, self._observed = self._observed, {}
            self.join_samples()
            join_diagonals(self.processes, observed, [p for p in self._held() if p.requires_grad])
            found = {p: diagonal.estimate(self.samples) for p, diagonal in observed.items()}
            return {p: estimate for p, estimate in found.items() if estimate is not None}
        parameters = list(gradients)
        probes = [torch.randn(p.shape, generator=self.generator, dtype=torch.float64).to(p) for p in parameters]
        try:
            own = scaled_double_backprop(self, list(gradients.values()), parameters, probes, "sophia-g")
            products = self.processes.averaged(own)
            refuse_overflow(products)
        finally:
            free_graph(self.model)
        return {p: wide(probe) * wide(product) for p, probe, product in zip(parameters, probes, products, strict=True)}

    def _step(self, closure: Callable[[], float] | None) -> None:
        gradients = {p: p.grad for group in self.param_groups for p in group["params"] if p.grad is not None}
        estimates = self._estimates(gradients)
        clipped, entries = 0, 0
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p not in gradients:
                    continue
                state = self.state[p]
                if not state:
                    state.update(momentum_buffer=wide_zeros(p), hessian=wide_zeros(p))
                if p in estimates:
                    state["hessian"].mul_(beta2).add_(estimates[p], alpha=1.0 - beta2)
                momentum = state["momentum_buffer"].mul_(beta1).add_(gradients[p].detach(), alpha=1.0 - beta1)
                step = momentum / (group["gamma"] * state["hessian"]).clamp(min=group["eps"])
                if self.collect_diagnostics:
                    clipped += int((step.abs() >= 1.0).sum())
                    entries += step.numel()
                if group["weight_decay"]:
                    p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.add_(step.clamp_(-1.0, 1.0), alpha=-group["lr"])
        if self.collect_diagnostics:
            self._clipped_share = clipped / max(entries, 1)

    def _own_diagnostics(self) -> dict[str, float]:
        return {"clipped_share": self._clipped_share}

    def close(self) -> None:
        """Remove the hooks from the model."""
        if self._attention is not None:
            self._attention.close()
