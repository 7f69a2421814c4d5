"""Controls for the claim that gradient regularisation helps: the same term, or its kin, without a natural gradient.

gr-sgd, gr-adamw:    torch's SGD and AdamW with g + ρ H g, the gradient of L + (ρ/2) ‖∇L‖², in place of g
sam:                 torch's SGD with ∇L(θ + r g/‖g‖) in place of g (Foret et al. 2021, arXiv 2010.01412): a finite
                     difference, since ∇L(θ + r g/‖g‖) = g + (r/‖g‖) H g + O(r²)

With ρ = 0, or r = 0, they are SGD and AdamW bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grng.errors import GrngError
from grng.optim import hyperparameters as hp
from grng.optim.first_order import check_nesterov
from grng.optim.groups import ParamsInput, parameter_groups
from grng.optim.hessian import RandomStateRecorder, moved_gradient
from grng.optim.hyperparameters import checked
from grng.optim.loss_scale import refuse_overflow
from grng.optim.regularised import GradientRegularised
from grng.optim.replaced import ReplacedGradient


class GRSGD(GradientRegularised, ReplacedGradient, torch.optim.SGD):
    """torch.optim.SGD on the regularised loss.

    Args:
        model: The model.
        params: Parameters or groups of the model; None for all trainable ones. Groups may set rho.
        lr: η.
        rho: ρ, strength of the gradient regularisation.
        hvp: `double_backprop` (the loss's backward then needs `create_graph=optimizer.is_second_order`) or
            `finite_difference` (`step` then needs a closure).
        regularize_every: k: the term is k ρ H g at every k-th step, and nothing between.
        rho_warmup_steps: First steps without the term.
        momentum: β: m ← β m + g + ρ H g, θ ← θ − lr m.
        weight_decay: Coupled, as torch's SGD has it.
        nesterov: Nesterov momentum.
        seed: Not used; there for the common signature.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: hp.LearningRate = 0.1,
        rho: hp.Rho = 0.01,
        hvp: hp.HVP = "double_backprop",
        regularize_every: hp.RegularizeEvery = 1,
        rho_warmup_steps: hp.RhoWarmupSteps = 0,
        momentum: hp.Momentum = 0.9,
        weight_decay: hp.CoupledDecay = 0.0,
        nesterov: hp.Nesterov = False,
        seed: int = 0,
    ) -> None:
        checked(GRSGD, locals())
        super().__init__(
            parameter_groups(model, params), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
        )
        self._attach(model, rho=rho)
        self._set_regulariser(hvp=hvp, regularize_every=regularize_every, rho_warmup_steps=rho_warmup_steps)

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        check_nesterov(values)

    def _vectors(
        self, gradients: dict[nn.Parameter, Tensor], closure: Callable[[], float] | None
    ) -> dict[nn.Parameter, Tensor]:
        return self._regularised(gradients, closure)


class GRAdamW(GradientRegularised, ReplacedGradient, torch.optim.AdamW):
    """torch.optim.AdamW on the regularised loss: its moments are those of g + ρ H g.

    Args:
        model: The model.
        params: Parameters or groups of the model; None for all trainable ones. Groups may set rho.
        lr: η.
        rho: ρ, strength of the gradient regularisation.
        hvp: `double_backprop` (the loss's backward then needs `create_graph=optimizer.is_second_order`) or
            `finite_difference` (`step` then needs a closure).
        regularize_every: k: the term is k ρ H g at every k-th step, and nothing between.
        rho_warmup_steps: First steps without the term.
        betas: β₁, β₂.
        eps: ε.
        weight_decay: Decoupled: θ ← θ − lr·w·θ.
        seed: Not used; there for the common signature.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: hp.LearningRate = 0.003,
        rho: hp.Rho = 0.01,
        hvp: hp.HVP = "double_backprop",
        regularize_every: hp.RegularizeEvery = 1,
        rho_warmup_steps: hp.RhoWarmupSteps = 0,
        betas: hp.Betas = (0.9, 0.999),
        eps: hp.Epsilon = 1e-8,
        weight_decay: hp.WeightDecay = 0.05,
        seed: int = 0,
    ) -> None:
        checked(GRAdamW, locals())
        super().__init__(parameter_groups(model, params), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self._attach(model, rho=rho)
        self._set_regulariser(hvp=hvp, regularize_every=regularize_every, rho_warmup_steps=rho_warmup_steps)

    def _vectors(
        self, gradients: dict[nn.Parameter, Tensor], closure: Callable[[], float] | None
    ) -> dict[nn.Parameter, Tensor]:
        return self._regularised(gradients, closure)


class SAM(ReplacedGradient, torch.optim.SGD):
    """Sharpness-aware minimisation over torch.optim.SGD.

    The loop's own backward gives g; `step(closure)` lets the closure recompute the gradient of the same batch at
    θ + r g/‖g‖, with the same dropout masks, and leaves BatchNorm's statistics and the random state as they were.

    Args:
        model: The model.
        params: Parameters or groups of the model; None for all trainable ones. Groups may set radius.
        lr: η.
        radius: r, in the norm of all parameters together. (The paper calls it ρ.)
        momentum: β.
        weight_decay: Coupled, as torch's SGD has it: of θ, not of the moved weights.
        nesterov: Nesterov momentum.
        seed: Not used; there for the common signature.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: hp.LearningRate = 0.1,
        radius: hp.Radius = 0.05,
        momentum: hp.Momentum = 0.9,
        weight_decay: hp.CoupledDecay = 0.0,
        nesterov: hp.Nesterov = False,
        seed: int = 0,
    ) -> None:
        checked(SAM, locals())
        super().__init__(
            parameter_groups(model, params), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
        )
        self._attach(model, radius=radius)
        self._random_state = RandomStateRecorder(model, self._closure_due)

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        check_nesterov(values)

    @property
    def needs_closure(self) -> bool:
        """Whether this step takes the gradient at the moved weights."""
        return self._closure_due()

    def _closure_due(self) -> bool:
        return not self.suspended and any(group["radius"] > 0 for group in self.param_groups)

    def _vectors(
        self, gradients: dict[nn.Parameter, Tensor], closure: Callable[[], float] | None
    ) -> dict[nn.Parameter, Tensor]:
        """Return ∇L(θ + r g/‖g‖); with a radius of its own in each group, each moves by its r of the common g/‖g‖."""
        plain = {p: gradient.detach() for p, gradient in gradients.items()}
        if not self.needs_closure or not plain:
            return plain
        if closure is None:
            raise GrngError(
                "sam needs a closure that recomputes loss and gradients of the same batch.",
                where="step",
                hint="Call optimizer.step(closure) where optimizer.needs_closure holds.",
            )
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(plain.values()))))
        if not bool(norm > 0):
            return plain
        radius = {p: group["radius"] for group in self.param_groups for p in group["params"]}
        offset = [gradient * (radius[p] / norm) for p, gradient in plain.items()]
        self.suspended = True
        try:
            moved = moved_gradient(list(plain), offset, closure, self.model, self._random_state.state)
        finally:
            self.suspended = False
        refuse_overflow(moved)
        return dict(zip(plain, moved, strict=True))

    def close(self) -> None:
        """Remove the hooks from the model."""
        super().close()
        self._random_state.close()
