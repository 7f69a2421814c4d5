"""RENG: regularised explicit natural gradient: the regularised objective's own gradient, in the natural metric.

    L_G(θ) = L(θ) + (ρ/2) ‖∇L(θ)‖²,        ∇L_G = g + ρ H g,        δ = −(F + λ I)⁻¹ (g + ρ H g)

Source: *Gradient Regularized Natural Gradients* (Dash, Abdi, Pan, Kaski, Sun; arXiv 2601.18420) for the objective and
double backprop; the rest was derived here, since the paper's own text was not available. By default the step is RING's
(normalised, Nesterov momentum before the
preconditioner) with v = g + ρ H g in place of g and a constant λ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from grng.optim import hyperparameters as hp
from grng.optim.groups import ParamsInput
from grng.optim.hyperparameters import checked
from grng.optim.natural import NaturalGradient
from grng.optim.regularised import GradientRegularised
from grng.optim.settings import KroneckerSettings, check_kronecker


class RENG(GradientRegularised, NaturalGradient):
    """RENG, regularised explicit natural gradient.

    Args:
        model: The model; curvature is measured on its Linear and Conv2d layers.
        params: Parameters or groups of the model; None for all trainable ones. Groups may set lr, weight_decay,
            momentum, damping, rho.
        lr: η; with `step_norm="rms"` the root-mean-square change of a weight per step.
        rho: ρ, strength of the gradient regularisation.
        hvp: `double_backprop` (the loss's backward then needs `create_graph=optimizer.is_second_order`) or
            `finite_difference` (`step` then needs a closure).
        regularize_every: k: the term is k ρ H g at every k-th step, and nothing between.
        rho_warmup_steps: First steps without the term; a learning-rate warm-up's length, for one.
        weight_decay: Decoupled: θ ← θ − lr·w·θ.
        momentum: β.
        damping: λ, constant.
        kl_clip: κ, bound of lr²·δᵀFδ; None for no trust region.
        ema: Decay of the moving averages of A and G.
        curvature_interval: Steps between updates of A and G.
        inverse_interval: Steps between refreshes of the inverses.
        curvature_batch: Share of the batch on which curvature is measured.
        damping_form: `factored` or `exact`.
        eigenvalue_correction: EKFAC: measured eigenvalues in the eigenbases instead of s_G s_Aᵀ (exact form only).
        step_norm: `rms` for a normalised step, or `none`.
        momentum_form: `gradient` or `step`.
        other_parameters: `adamw` or `diagonal`.
        other_lr: Learning rate of `other_parameters="adamw"`.
        inverse: `auto`, `newton`, `cholesky`, `eigh`.
        fisher: `sampled`, `exact`, `empirical` (the last is no natural gradient).
        weight_sharing: `expand` or `reduce`.
        likelihood: `categorical`, `bernoulli` or `gaussian`.
        max_factor_size: Wider factors are cut into equal diagonal blocks.
        seed: Of the optimizer's own generator (sampled labels).

    Raises:
        HyperparameterError: A value of the wrong type or out of range, or one that has no effect with the others.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: hp.LearningRate = 0.002,
        rho: hp.Rho = 0.008,
        hvp: hp.HVP = "double_backprop",
        regularize_every: hp.RegularizeEvery = 1,
        rho_warmup_steps: hp.RhoWarmupSteps = 0,
        weight_decay: hp.WeightDecay = 0.05,
        momentum: hp.Momentum = 0.9,
        damping: hp.Damping = 0.005,
        kl_clip: hp.KLClip = None,
        ema: hp.EMA = 0.95,
        curvature_interval: hp.CurvatureInterval = 4,
        inverse_interval: hp.InverseInterval = 10,
        curvature_batch: hp.CurvatureBatch = 0.25,
        damping_form: hp.DampingForm = "factored",
        eigenvalue_correction: hp.EigenvalueCorrection = False,
        step_norm: hp.StepNorm = "rms",
        momentum_form: hp.MomentumForm = "gradient",
        other_parameters: hp.OtherParameters = "adamw",
        other_lr: hp.OtherLearningRate = None,
        inverse: hp.Inverse = "auto",
        fisher: hp.Fisher = "sampled",
        weight_sharing: hp.WeightSharing = "expand",
        likelihood: hp.LikelihoodName = "categorical",
        max_factor_size: hp.MaxFactorSize = 768,
        seed: int = 0,
    ) -> None:
        values = checked(RENG, locals())
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "damping": damping, "rho": rho}
        settings = KroneckerSettings.of(values)
        super().__init__(model, params, defaults, settings, likelihood=likelihood, seed=seed)
        self._set_regulariser(hvp=hvp, regularize_every=regularize_every, rho_warmup_steps=rho_warmup_steps)

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        check_kronecker(values)

    def _vectors(
        self, gradients: dict[nn.Parameter, Tensor], closure: Callable[[], float] | None
    ) -> dict[nn.Parameter, Tensor]:
        """Return g + ρ H g, and free the graph of g."""
        return self._regularised(gradients, closure)
