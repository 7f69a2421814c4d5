"""K-FAC: natural gradient with Kronecker-factored curvature and constant damping.

    F_i ≈ A_i ⊗ G_i,    δ_i = −(G_i + √λ/π_i I)⁻¹ g_i (A_i + π_i √λ I)⁻¹,    trust region and momentum of the step: see
    `natural.py`

Sources: Martens & Grosse 2015 (arXiv 1503.05671); Grosse & Martens 2016 (convolutions, arXiv 1602.01407); Eschenhagen
et al. 2023 (weight sharing, arXiv 2311.00636). This is the baseline of the GRNG paper, so the defaults are the
classical form: KL clip, momentum of the step, a diagonal Fisher for what has no Kronecker factors. How the defaults
were chosen is told in docs/defaults.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from grng.optim import hyperparameters as hp
from grng.optim.groups import ParamsInput
from grng.optim.hyperparameters import checked
from grng.optim.natural import NaturalGradient
from grng.optim.settings import KroneckerSettings, check_kronecker


class KFAC(NaturalGradient):
    """K-FAC.

    Args:
        model: The model; curvature is measured on its Linear and Conv2d layers.
        params: Parameters or groups of the model; None for all trainable ones.
        lr: η, step size (of the KL-clipped natural gradient).
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
        step_norm: `none`, or `rms` for a normalised step (then no kl_clip).
        momentum_form: `step` or `gradient`.
        other_parameters: `diagonal` or `adamw`.
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
        lr: hp.LearningRate = 0.1,
        weight_decay: hp.WeightDecay = 0.2,
        momentum: hp.Momentum = 0.9,
        damping: hp.Damping = 0.1,
        kl_clip: hp.KLClip = 0.02,
        ema: hp.EMA = 0.95,
        curvature_interval: hp.CurvatureInterval = 4,
        inverse_interval: hp.InverseInterval = 10,
        curvature_batch: hp.CurvatureBatch = 0.25,
        damping_form: hp.DampingForm = "factored",
        eigenvalue_correction: hp.EigenvalueCorrection = False,
        step_norm: hp.StepNorm = "none",
        momentum_form: hp.MomentumForm = "step",
        other_parameters: hp.OtherParameters = "diagonal",
        other_lr: hp.OtherLearningRate = None,
        inverse: hp.Inverse = "auto",
        fisher: hp.Fisher = "sampled",
        weight_sharing: hp.WeightSharing = "expand",
        likelihood: hp.LikelihoodName = "categorical",
        max_factor_size: hp.MaxFactorSize = 768,
        seed: int = 0,
    ) -> None:
        values = checked(KFAC, locals())
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "damping": damping}
        settings = KroneckerSettings.of(values)
        super().__init__(model, params, defaults, settings, likelihood=likelihood, seed=seed)

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        check_kronecker(values)
