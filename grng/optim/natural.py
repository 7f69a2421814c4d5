"""The step that K-FAC, RING and RENG share: observe, precondition, normalise or clip, momentum, decoupled weight decay.

    V_i = what is preconditioned: g (K-FAC, RING) or g + ρ H g (RENG); `momentum_form="gradient"`: its Nesterov momentum
    δ_i = −[G_d⁻¹ V_i A_d⁻¹]                                        per layer with Kronecker factors A, G, damped by λ_i
    δ_i = −V_i / (d_i + λ_i), or AdamW's step                       for every other parameter (`other_parameters`)
    δ_i ← δ_i / rms(δ_i)                                            `step_norm="rms"`
    δ  ← δ · min(1, sqrt(κ / (−lr² Σ δᵀV)))                         `kl_clip`: a trust region in the Fisher metric
    m  ← β m + δ, θ ← θ + lr m                                      `momentum_form="step"`; else θ ← θ + lr δ

Source: Martens & Grosse 2015 (K-FAC); what RING and RENG change stands in their own files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grng.curvature.capture import Capture
from grng.curvature.coverage import Coverage
from grng.curvature.inverse import NewtonReport
from grng.curvature.precision import wide, wide_zeros
from grng.errors import GrngError
from grng.optim.adamw_rule import adamw_step
from grng.optim.base import CurvatureOptimizer, ParamsInput, parameter_groups
from grng.optim.blocks import correct_eigenvalues, direction, has_inverse, normalised, refresh
from grng.optim.fisher import corrected_average
from grng.optim.gather import Statistics
from grng.optim.joining import join_statistics
from grng.optim.settings import KroneckerSettings
from grng.optim.units import Partition, Unit, partition, scaled_other_lr


class NaturalGradient(CurvatureOptimizer):
    """Natural gradient with Kronecker factors; subclasses say which vector is preconditioned and how much it is damped.

    Args:
        model: The model.
        params: Parameters or groups of `model`; None for all trainable ones. Groups may set lr, weight_decay, momentum,
            damping.
        defaults: lr, weight_decay, momentum, damping (and what a subclass adds).
        settings: What is not per group.
        likelihood: See `CurvatureOptimizer`.
        seed: See `CurvatureOptimizer`.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput,
        defaults: dict[str, Any],
        settings: KroneckerSettings,
        *,
        likelihood: str,
        seed: int,
    ) -> None:
        self.settings = settings
        self.failed_inversions = 0
        self._statistics = Statistics()
        self._reports: list[NewtonReport] = []
        self._capture: Capture | None = None
        self._default_lr = float(defaults["lr"])
        self._excluded: dict[nn.Parameter, str] = {}  # weights of layers that turned out not to be seen by hooks
        groups = parameter_groups(model, params)
        self._partition = self._partitioned(model, [p for group in groups for p in group["params"]])
        parts = [part for group in groups for part in self._split(group)]
        super().__init__(model, parts, defaults, likelihood=likelihood, seed=seed)
        self._watch()

    # --- which parameter is stepped by which rule

    def _partitioned(self, model: nn.Module, held: Sequence[nn.Parameter]) -> Partition:
        return partition(model, held, max_factor_size=self.settings.max_factor_size, excluded=self._excluded)

    def _split(self, group: dict[str, Any]) -> list[dict[str, Any]]:
        settings = self.settings
        return self._partition.split(
            group, other_rule=settings.other_parameters, other_lr=settings.other_lr, default_lr=self._default_lr
        )

    def _exclude(self, excluded: dict[nn.Parameter, str]) -> None:
        """Leave layers, by weight, to the other rule; a reason each. Their parameter groups stay as they are."""
        self._excluded = excluded
        self._partition = self._partitioned(self.model, [p for group in self.param_groups for p in group["params"]])
        self._watch()

    def _exclude_unseen(self, statistics: Statistics) -> None:
        """Exclude layers that the loss trains but of which no hook ever saw anything, e.g. F.linear(x, m.weight)."""
        fresh = [layer for layer in self._partition.layers if "factor_updates" not in self.state[layer.weight]]
        unseen = statistics.without_factors(fresh) if statistics.samples else {}
        if unseen:
            self._exclude({**self._excluded, **{layer.weight: reason for layer, reason in unseen.items()}})

    def _watch(self) -> None:
        """Hook the layers; the hooks hold no strong reference to the optimizer, so that they go when it goes."""
        if self._capture is not None:
            self._capture.close()
        modules = {layer.name: layer.module for layer in self._partition.layers}
        self._capture = Capture(self.model, modules, self._armed)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters of the model later; their layers get factors from the next step on."""
        if "rule" in param_group or not hasattr(self, "_probe"):  # a part of our own making, or torch's constructor
            super().add_param_group(param_group)
            return
        (group,) = parameter_groups(self.model, [param_group])
        held = [p for known in self.param_groups for p in known["params"]]
        joined = self._partitioned(self.model, held + group["params"])
        if any(0 < len(set(held) & set(unit.parameters)) < len(unit.parameters) for unit in joined.units):
            raise GrngError(
                "a layer's weight and bias must be added together: one of them is held already.",
                where="add_param_group",
                hint="Give whole layers to the constructor or to one group.",
            )
        self._partition = joined
        for part in self._split(group):
            super().add_param_group(part)
        self._watch()

    def coverage(self) -> Coverage:
        """Say for every parameter whether it has Kronecker factors, and if not, why and by which rule it is stepped."""
        return self._partition.coverage(self.model, other_rule=self.settings.other_parameters)

    def close(self) -> None:
        """Remove the hooks from the model."""
        if self._capture is not None:
            self._capture.close()

    # --- observation

    @property
    def curvature_due(self) -> bool:
        """Whether the coming step updates the factors."""
        return self.steps % self.settings.curvature_interval == 0

    def _armed(self) -> bool:
        return self.curvature_due and not self.suspended and self.model.training

    def _observe(self, outputs: Tensor, targets: Tensor) -> None:
        if not self.curvature_due or self._capture is None:
            return
        settings = self.settings
        self._statistics.gather(
            self,
            outputs,
            targets,
            layers=self._partition.layers,
            uses=self._capture.take(),
            diagonal=self._diagonal_parameters(),
            fisher=settings.fisher,
            share=settings.curvature_batch,
            weight_sharing=settings.weight_sharing,
            eigenvalues=settings.eigenvalue_correction,
        )

    def _diagonal_parameters(self) -> list[nn.Parameter]:
        if self.settings.other_parameters != "diagonal":
            return []
        return [unit.key for unit in self._partition.units if unit.layer is None and unit.key.requires_grad]

    def require_observed(self) -> None:
        """Only a step that updates the factors needs the outputs."""
        if self.curvature_due:
            super().require_observed()

    # --- what subclasses say

    def _vectors(
        self, gradients: dict[nn.Parameter, Tensor], closure: Callable[[], float] | None
    ) -> dict[nn.Parameter, Tensor]:
        """Return what is preconditioned, from the gradients g (which may carry a graph)."""
        return {p: gradient.detach() for p, gradient in gradients.items()}

    def _measure_norms(self, gradients: dict[nn.Parameter, Tensor]) -> None:
        """Take note of the raw gradient's norms, at every step."""

    def _damping(self, unit: Unit, group: dict[str, Any]) -> Tensor:
        """Return λ of a unit, a scalar tensor; `group` holds the base damping."""
        return torch.tensor(group["damping"], dtype=torch.float64)

    def _damping_each_step(self) -> bool:
        """Whether λ is read at every step, not only when the inverses are refreshed."""
        return self.settings.damping_form == "exact"

    def _forget(self) -> None:
        self._statistics = Statistics()

    def _forget_forward(self) -> None:
        if self._capture is not None:
            self._capture.take()

    # --- the step

    def _step(self, closure: Callable[[], float] | None) -> None:
        group_of = {p: group for group in self.param_groups for p in group["params"]}
        gradients = {p: p.grad for p in group_of if p.grad is not None}
        vectors = self._vectors(gradients, closure)
        statistics, self._statistics = self._statistics, Statistics()
        if self.curvature_due:
            join_statistics(
                self.processes,
                statistics,
                layers=self._partition.layers,
                diagonal=self._diagonal_parameters(),
                weight_sharing=self.settings.weight_sharing,
            )
        self.failed_inversions += statistics.fold(self._partition.layers, self.state, self.settings.ema)
        self._exclude_unseen(statistics)
        self._measure_norms({p: gradient.detach() for p, gradient in gradients.items()})
        self._reports = []
        directions: dict[nn.Parameter, Tensor] = {}
        decrease = torch.zeros((), dtype=torch.float64)
        by_adamw = self.settings.other_parameters == "adamw"
        units = [u for u in self._partition.units if u.key in vectors and (u.layer is not None or not by_adamw)]
        self._refresh_blocks([unit for unit in units if unit.layer is not None], group_of, statistics)
        for unit in units:
            group = group_of[unit.key]
            mixed = [self._with_momentum(p, vectors.get(p), group["momentum"]) for p in unit.parameters]
            if unit.layer is not None:
                steps = direction(unit.layer, self.state[unit.key], mixed, self.settings)
            else:
                steps = [self._diagonal_step(unit, mixed[0], group)]
            if self.settings.step_norm == "rms":
                steps = normalised(steps)
            for p, step, vector in zip(unit.parameters, steps, mixed, strict=True):
                directions[p] = step.to(vector.dtype)
                if self.settings.kl_clip is not None:
                    decrease = decrease.to(p.device) - group_of[p]["lr"] ** 2 * (step * vector).sum().double()
        scale = self._trust_region(decrease)
        for p, step in directions.items():
            self._move(p, step if scale is None else step * scale.to(step.dtype), group_of[p])
        if by_adamw:
            covered = {p for unit in self._partition.units if unit.layer is not None for p in unit.parameters}
            for group in self.param_groups:
                adamw_step(self._other_group(group, covered), vectors, self.state)

    def _other_group(self, group: dict[str, Any], covered: set[nn.Parameter]) -> dict[str, Any]:
        """Return what AdamW steps of a group: its own ones whole, of others the excluded layers."""
        if group["rule"] == "adamw":
            return group
        other = [p for p in group["params"] if p not in covered]
        lr = scaled_other_lr(group["lr"], other_lr=self.settings.other_lr, default_lr=self._default_lr)
        return {**group, "params": other, "lr": lr}

    def _with_momentum(self, p: nn.Parameter, vector: Tensor | None, decay: float) -> Tensor:
        vector = wide_zeros(p) if vector is None else wide(vector)
        if self.settings.momentum_form != "gradient" or decay == 0.0:
            return vector
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = wide_zeros(p)
        buffer: Tensor = state["momentum_buffer"].mul_(decay).add_(vector, alpha=1.0 - decay)
        return buffer * decay + vector * (1.0 - decay)

    def _refresh_blocks(
        self, units: Sequence[Unit], group_of: dict[nn.Parameter, dict[str, Any]], statistics: Statistics
    ) -> None:
        for unit in units:
            self._refresh(unit, self.state[unit.key], group_of[unit.key])
        if self.settings.eigenvalue_correction and self.curvature_due:
            ready = [(unit.layer, self.state[unit.key]) for unit in units if has_inverse(self.state[unit.key])]
            squares = [statistics.squares.get(layer.name) for layer, _ in ready if layer is not None]
            correct_eigenvalues([state for _, state in ready], squares, self.settings.ema, self.processes)

    def _refresh(self, unit: Unit, state: dict[str, Any], group: dict[str, Any]) -> None:
        observed = "factor_updates" in state
        due = observed and (self.steps % self.settings.inverse_interval == 0 or not has_inverse(state))
        if due or self._damping_each_step():
            state["damping"] = self._damping(unit, group).to(unit.key.device)
        if due:
            good, reports = refresh(state, self.settings)
            self._reports += reports
            self.failed_inversions += not good

    def _diagonal_step(self, unit: Unit, vector: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[unit.key]
        if self._damping_each_step() or "damping" not in state or self.steps % self.settings.inverse_interval == 0:
            state["damping"] = self._damping(unit, group).to(vector.device)
        fisher = corrected_average(state, "fisher", self.settings.ema)
        if fisher is None:  # never observed: see _layer_step
            return -vector
        damped: Tensor = fisher + state["damping"].to(fisher.dtype)
        return -vector / damped

    def _trust_region(self, decrease: Tensor) -> Tensor | None:
        """Return min(1, sqrt(κ / (−lr² Σ δᵀV))), or None where there is nothing to clip."""
        if self.settings.kl_clip is None or not bool(decrease > 0):
            return None
        return (self.settings.kl_clip / decrease).sqrt().clamp(max=1.0)

    def _move(self, p: nn.Parameter, step: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            p.mul_(1.0 - group["lr"] * group["weight_decay"])
        if self.settings.momentum_form == "step" and group["momentum"]:
            state = self.state[p]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = wide_zeros(p)
            step = state["momentum_buffer"].mul_(group["momentum"]).add_(step)
        p.add_(step, alpha=group["lr"])

    # --- what is reported and saved

    def _own_diagnostics(self) -> dict[str, float]:
        dampings = [
            float(self.state[unit.key]["damping"])
            for unit in self._partition.units
            if "damping" in self.state[unit.key]
        ]
        found = {"failed_inversions": float(self.failed_inversions)}
        if dampings:
            found |= {
                "damping": sum(dampings) / len(dampings),
                "damping_max": max(dampings),
                "damping_min": min(dampings),
            }
        if self._reports:
            found["newton_residual"] = max(report.residual for report in self._reports)
            found["newton_iterations"] = float(max(report.iterations for report in self._reports))
        return found

    def _extra_state(self) -> dict[str, Any]:
        held = [p for group in self.param_groups for p in group["params"]]
        excluded = [(index, self._excluded[p]) for index, p in enumerate(held) if p in self._excluded]
        return {"failed_inversions": self.failed_inversions, "excluded": excluded}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        self.failed_inversions = int(extra["failed_inversions"])
        held = [p for group in self.param_groups for p in group["params"]]
        self._exclude({held[index]: reason for index, reason in extra["excluded"]})
