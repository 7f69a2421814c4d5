"""R-Kalman: natural gradient as a Kalman filter on the weights, regularised; no Fisher matrix is ever inverted.

By default (`observation="samples"`, `filter_scope="layer"`) every layer has a filter that keeps the rows of the last
steps, and with them the correlations between its weights: see `rkalman_layers`. In the other modes one filter has all
weights θ as its state, with covariance P. With g the mean gradient of a batch of B samples, per step:

    1. predict      P ← min(P/γ + q, P₀)
    2. regularise   P ← P ⊘ (1 + B ρ ‖g‖² P)                 adds the precision B ρ‖g‖² I; a batch adds B F, so this is
    L_G's quadratic model
    3. observe      rows H, innovation ν, noise R:  S = HPHᵀ + R,  K = P Hᵀ S⁻¹,  θ ← θ + lr · K ν,  P ← P − diag(K H P)

What is observed stands in files of their own: the batch's loss, one row (`rkalman_loss`); groups of samples
(`rkalman_samples`); every output of every sample (`rkalman_outputs`).

Source: *Gradient Regularized Natural Gradients* (Dash, Abdi, Pan, Kaski, Sun; arXiv 2601.18420) for the idea (Bayesian,
a regularised Kalman filter, no inversion of the Fisher matrix). The recursion was derived here, since the paper's own
text was not available, from Ollivier 2017 (arXiv 1703.00209: the extended Kalman filter on static parameters is online
natural gradient) and LoKO (arXiv 2410.11551: the diagonal filter).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from grng.curvature.coverage import Coverage
from grng.curvature.layers import Layer
from grng.optim import hyperparameters as hp
from grng.optim import rkalman_settings as settings
from grng.optim.groups import ParamsInput, parameter_groups
from grng.optim.hyperparameters import checked
from grng.optim.rkalman_filter import Filter
from grng.optim.rkalman_layers import LayerFilter
from grng.optim.rkalman_loss import LossFilter
from grng.optim.rkalman_outputs import OutputsFilter
from grng.optim.rkalman_samples import SamplesFilter
from grng.optim.rkalman_settings import check_modes, fill_modes, mode_of
from grng.optim.watching import WatchingOptimizer

FILTERS: Mapping[str, Callable[[Mapping[str, Any]], Filter]] = {
    "observation=loss": LossFilter,
    "observation=samples": SamplesFilter,
    "observation=outputs": OutputsFilter,
    "filter_scope=layer": LayerFilter,
}


class RKalman(WatchingOptimizer):
    """R-Kalman. A hyperparameter left at None takes the default of its mode, where it has an effect there.

    Args:
        model: The model.
        params: Parameters or groups of the model; None for all trainable ones.
        lr: η, scales the filter's gain; 1 is the filter itself. With `filter_scope="layer"`: the change of a weight
            per step, root-mean-square.
        rho: ρ, strength of the gradient regularisation.
        initial_covariance: P₀, initial and largest variance.
        forgetting: γ, fading memory.
        process_noise: q.
        noise: R, observation noise of one sample (`observation="samples"`, `filter_scope="global"`).
        noise_ema: Decay of the moving average that serves as R (`observation="loss"`, `update="joint"` and `"none"`).
        observation: `samples`, `loss` or `outputs`.
        rows: r, rows a step (`observation="samples"`): the batch is cut into so many runs of consecutive samples, whose
            sizes differ by at most one where r does not divide B; at most one row a sample. With gradient accumulation
            r counts for the whole step.
        memory: k, steps whose rows are kept (`filter_scope="layer"`).
        curvature_batch: f, share of the batch whose rows are observed (`filter_scope="layer"`), in a forward of their
            own: see `partial_forward`. Where it cannot be repeated the whole batch is observed.
        filter_scope: `layer`: one filter a layer that keeps its rows (`observation="samples"`); or `global`. None is
            `layer` with `observation="samples"`, else `global`.
        covariance: `diagonal` or `block` (one variance a tensor); `filter_scope="global"`.
        update: `joint`, `information` or `none` (P is not lowered by the observation); `filter_scope="global"`.
        momentum: β: m ← β m + (1−β) Δθ, bias-corrected; with `filter_scope="layer"` Nesterov's, of the gradient.
        weight_decay: Decoupled: θ ← θ − lr·w·θ.
        other_lr: Learning rate of AdamW for norms, biases and embeddings (`filter_scope="layer"`).
        likelihood: `categorical`, `bernoulli` or `gaussian`.
        seed: Of the optimizer's own generator (sampled labels).

    Raises:
        HyperparameterError: A value of the wrong type or out of range, or one that has no effect with the others.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: settings.FilterLearningRate = None,
        rho: settings.FilterRho = None,
        initial_covariance: settings.InitialCovariance = None,
        forgetting: settings.Forgetting = None,
        process_noise: settings.ProcessNoise = None,
        noise: settings.Noise = None,
        noise_ema: settings.NoiseEMA = None,
        observation: settings.Observation = "samples",
        rows: settings.Rows = None,
        memory: settings.Memory = None,
        curvature_batch: settings.FilterBatch = None,
        filter_scope: settings.FilterScope = None,
        covariance: settings.Covariance = "diagonal",
        update: settings.CovarianceUpdate = "joint",
        momentum: settings.FilterMomentum = None,
        weight_decay: settings.FilterDecay = None,
        other_lr: hp.OtherLearningRate = None,
        likelihood: hp.LikelihoodName = "categorical",
        seed: int = 0,
    ) -> None:
        values = checked(RKalman, locals())
        self._filter = FILTERS[mode_of(values)](values)
        groups = parameter_groups(model, params)
        held = [p for group in groups for p in group["params"]]
        parts = [part for group in groups for part in self._filter.split(model, held, group)]
        defaults = {name: values[name] for name in ("lr", "momentum", "weight_decay")}
        super().__init__(model, parts, defaults, likelihood=likelihood, seed=seed)
        self._share: float = values["curvature_batch"] or 1.0
        self._watch_forward(self._share)
        self._watch()

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        check_modes(values)

    @staticmethod
    def _fill_in(values: Mapping[str, Any]) -> dict[str, Any]:
        return fill_modes(values)

    # --- the layers that are watched

    def _watch(self) -> None:
        held = [p for group in self.param_groups for p in group["params"]]
        self.watched: list[Layer] = self._filter.watched(self.model, held)
        if self.watched:
            self._watch_layers({layer.name: layer.module for layer in self.watched})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters of the model later."""
        if not hasattr(self, "_probe"):  # torch's constructor
            super().add_param_group(param_group)
            return
        (group,) = parameter_groups(self.model, [param_group])
        held = [p for known in self.param_groups for p in known["params"]]
        for part in self._filter.split(self.model, held + group["params"], group):
            super().add_param_group(part)
        self._watch()

    # --- observation and step

    def _forget(self) -> None:
        self._filter.forget()

    def _observe(self, outputs: Tensor, targets: Tensor) -> None:
        part = self._repeated(outputs, self._share)
        self._filter.observe(self, outputs if part is None else part, targets)

    def _step(self, closure: Callable[[], float] | None) -> None:
        self._filter.step(self)

    # --- what is reported and saved

    def coverage(self) -> Coverage | None:
        """Say which parameter a layer's filter steps and which AdamW does (`filter_scope="layer"`), else None."""
        return self._filter.coverage(self.model)

    def _own_diagnostics(self) -> dict[str, float]:
        return self._filter.diagnostics()

    def _extra_state(self) -> dict[str, Any]:
        return self._filter.state()

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        self._filter.load_state(extra)
