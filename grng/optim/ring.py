"""RING: regularised implicit natural gradient. The gradient regulariser enters only through the metric.

    L_G(θ + δ) ≈ L + gᵀδ + ½ δᵀ (F + ρ ‖g‖² I) δ,        λ_t = λ + ρ ‖g_t‖^p  (p = 2),        δ = −(F + λ_t I)⁻¹ g_t

Source: *Gradient Regularized Natural Gradients* (Dash, Abdi, Pan, Kaski, Sun; arXiv 2601.18420) for the regularised
objective and the idea; the formulas were derived here, since the paper's own text was not available.

Deviations, all of them options. `norm_scope="layer"` takes each layer's own ‖g_i‖², which is of the size of tr(F_i) up
to batch noise, so that ρ means the same in every layer and no base damping is needed; `norm_ema` smooths it (an
unsmoothed λ_t changes by more than 10 % in most steps, which the factored form could not follow); `step_norm="rms"`
scales each layer's step to root-mean-square 1, so that lr is the change per step. The literal form is
`norm_scope="global", norm_ema=0, damping_form="exact", step_norm="none", momentum_form="step",
other_parameters="diagonal"` with a `kl_clip`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grng.curvature.precision import norms
from grng.errors import HyperparameterError
from grng.optim import hyperparameters as hp
from grng.optim.fisher import corrected_average, move_averages
from grng.optim.groups import ParamsInput
from grng.optim.hyperparameters import checked
from grng.optim.natural import NaturalGradient
from grng.optim.settings import KroneckerSettings, check_kronecker
from grng.optim.units import Unit
from grng.optim.update import sums_by_unit


class RING(NaturalGradient):
    """RING, regularised implicit natural gradient.

    Args:
        model: The model; curvature is measured on its Linear and Conv2d layers.
        params: Parameters or groups of the model; None for all trainable ones. Groups may set lr, weight_decay,
            momentum, damping, rho.
        lr: η; with `step_norm="rms"` the root-mean-square change of a weight per step.
        rho: ρ, strength of the gradient regularisation.
        norm_power: p in λ_t = λ + ρ‖g‖^p.
        norm_scope: `layer` (each layer's own gradient norm, bias included) or `global`.
        norm_ema: Decay of the moving average of ‖g‖²; 0 takes the present gradient's, at every step (exact form only).
        weight_decay: Decoupled: θ ← θ − lr·w·θ.
        momentum: β.
        damping: λ, floor of λ_t.
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
        lr: hp.LearningRate = 0.0023,
        rho: hp.Rho = 0.0025,
        norm_power: hp.NormPower = 2.0,
        norm_scope: hp.NormScope = "layer",
        norm_ema: hp.NormEMA = 0.9,
        weight_decay: hp.WeightDecay = 0.05,
        momentum: hp.Momentum = 0.9,
        damping: hp.Damping = 1e-8,
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
        values = checked(RING, locals())
        self.norm_power, self.norm_scope, self.norm_ema = norm_power, norm_scope, norm_ema
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "damping": damping, "rho": rho}
        settings = KroneckerSettings.of(values)
        super().__init__(model, params, defaults, settings, likelihood=likelihood, seed=seed)

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        check_kronecker(values)
        if values["norm_ema"] == 0 and values["damping_form"] == "factored" and values["rho"] > 0:
            raise HyperparameterError(
                "norm_ema=0 reads λ_t at every step, and damping_form=factored cannot follow it without a new inverse.",
                where="norm_ema",
                hint="Choose damping_form=exact, or a norm_ema such as 0.9.",
            )

    def _measure_norms(self, gradients: dict[nn.Parameter, Tensor]) -> None:
        """Move n ← the average of the raw ‖g‖², per layer or global, at every step."""
        if not gradients:
            return
        units = {unit.key: unit.parameters for unit in self._partition.units if self._steps_itself(unit)}
        used = {key: [p for p in own if p in gradients] for key, own in units.items()}
        used = {key: own for key, own in used.items() if own}
        squares = norms(list(gradients.values())).square()
        if self.norm_scope == "global":
            values = squares.sum().expand(len(used))
        else:
            places = {p: place for place, p in enumerate(gradients)}
            chosen = torch.tensor([places[p] for own in used.values() for p in own], dtype=torch.int64)
            values = sums_by_unit(squares[chosen.to(squares.device)], list(used.values()))
        if used:
            move_averages([self.state[key] for key in used], "gradient_square", values.unbind(), self.norm_ema)

    def _damping(self, unit: Unit, group: dict[str, Any]) -> Tensor:
        """Return λ + ρ n^{p/2}."""
        square = corrected_average(self.state[unit.key], "gradient_square", self.norm_ema)
        if square is None:
            return super()._damping(unit, group)
        damped: Tensor = group["damping"] + group["rho"] * square ** (self.norm_power / 2.0)
        return damped

    def _damping_each_step(self) -> bool:
        return self.norm_ema == 0
