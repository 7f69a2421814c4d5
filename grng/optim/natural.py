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

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grng.curvature.capture import Capture
from grng.curvature.coverage import Coverage
from grng.curvature.inverse import NewtonReport
from grng.errors import GrngError
from grng.optim.adamw_rule import adamw_step
from grng.optim.base import CurvatureOptimizer, ParamsInput, parameter_groups
from grng.optim.blocks import correct_eigenvalues, direction, has_inverse, refresh
from grng.optim.fisher import corrected_average
from grng.optim.gather import Statistics
from grng.optim.joining import join_statistics
from grng.optim.partial_forward import PartialForward, inner_module
from grng.optim.refreshes import spread_refreshes
from grng.optim.settings import KroneckerSettings
from grng.optim.units import Partition, Unit, partition, scaled_other_lr
from grng.optim.update import move, nesterov, normalise, trust_region


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
        self._partial: PartialForward | None = None
        self._measuring = False  # while the optimizer itself repeats the forward
        if settings.curvature_batch < 1.0:
            self._partial = PartialForward(model, self._repeats)
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
        """Plan the refreshes and hook the layers.

        The hooks hold no strong reference to the optimizer, so that they go when it goes.
        """
        if self._capture is not None:
            self._capture.close()
        modules = {layer.name: layer.module for layer in self._partition.layers}
        self._phases = spread_refreshes(self._partition.layers, self.settings.inverse_interval)
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
        if self._partial is not None:
            self._partial.close()

    # --- observation

    @property
    def curvature_due(self) -> bool:
        """Whether the coming step updates the factors."""
        return self.steps % self.settings.curvature_interval == 0

    def _armed(self) -> bool:
        return self.curvature_due and (self._measuring or not self.suspended) and self.model.training

    def _repeats(self) -> bool:
        """Whether the coming forward is one of which a part will be repeated."""
        return self.curvature_due and not self.suspended and self.model.training

    def _observe(self, outputs: Tensor, targets: Tensor) -> None:
        if not self.curvature_due or self._capture is None:
            return
        settings, share = self.settings, self.settings.curvature_batch
        part = self._repeated(outputs.shape[0])
        if part is not None:
            outputs, targets, share = part, targets[: part.shape[0]], 1.0
        self._statistics.gather(
            self,
            outputs,
            targets,
            layers=self._partition.layers,
            uses=self._capture.take(),
            diagonal=self._diagonal_parameters(),
            fisher=settings.fisher,
            share=share,
            weight_sharing=settings.weight_sharing,
            eigenvalues=settings.eigenvalue_correction,
        )

    def _repeated(self, batch: int) -> Tensor | None:
        """Return the outputs for the first ⌈`curvature_batch` · batch⌉ samples, by a forward of their own."""
        samples = math.ceil(self.settings.curvature_batch * batch)
        if self._partial is None or samples == batch:
            return None
        assert self._capture is not None
        kept, self._measuring, self.suspended = self._capture.take(), True, True
        try:
            outputs = self._partial.run(inner_module(self.model), batch, samples)
        finally:
            self._measuring, self.suspended = False, False
        if outputs is None:
            self._capture.uses = kept
        return outputs

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
        units = [unit for unit in self._partition.units if unit.key in vectors and self._steps_itself(unit)]
        mixed = self._momenta(units, vectors, group_of)
        self._refresh_blocks([unit for unit in units if unit.layer is not None], group_of, statistics)
        steps = [self._unit_step(unit, mixed, group_of[unit.key]) for unit in units]
        if self.settings.step_norm == "rms":
            normalise(steps)
        directions = {
            p: step.to(p.dtype)
            for unit, own in zip(units, steps, strict=True)
            for p, step in zip(unit.parameters, own, strict=True)
        }
        if self.settings.kl_clip is not None and directions:
            rates = [group_of[p]["lr"] for p in directions]
            scale = trust_region(
                list(directions.values()), [mixed[p] for p in directions], rates, self.settings.kl_clip
            )
            torch._foreach_mul_(list(directions.values()), scale)
        for group in self.param_groups:
            members = [p for p in group["params"] if p in directions]
            own = [directions[p] for p in members]
            move(group, self.state, members, own, momentum_of_step=self.settings.momentum_form == "step")
        if self.settings.other_parameters == "adamw":
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

    def _steps_itself(self, unit: Unit) -> bool:
        return unit.layer is not None or self.settings.other_parameters == "diagonal"

    def _momenta(
        self, units: Sequence[Unit], vectors: dict[nn.Parameter, Tensor], group_of: dict[nn.Parameter, dict[str, Any]]
    ) -> dict[nn.Parameter, Tensor]:
        """Return V for every parameter of the units; one without a gradient, beside one that has it, counts as zero."""
        every = {p: vectors[p] if p in vectors else torch.zeros_like(p) for unit in units for p in unit.parameters}
        if self.settings.momentum_form != "gradient":
            return every
        for group in self.param_groups:
            members = [p for p in group["params"] if p in every]
            mixed = nesterov(self.state, members, [every[p] for p in members], group["momentum"])
            every.update(zip(members, mixed, strict=True))
        return every

    def _unit_step(self, unit: Unit, mixed: dict[nn.Parameter, Tensor], group: dict[str, Any]) -> list[Tensor]:
        if unit.layer is None:
            return [self._diagonal_step(unit, mixed[unit.key], group)]
        return direction(unit.layer, self.state[unit.key], [mixed[p] for p in unit.parameters], self.settings)

    def _refresh_blocks(
        self, units: Sequence[Unit], group_of: dict[nn.Parameter, dict[str, Any]], statistics: Statistics
    ) -> None:
        for unit in units:
            self._refresh(unit, self.state[unit.key], group_of[unit.key])
        if self.settings.eigenvalue_correction and self.curvature_due:
            layers = [unit.layer for unit in units if unit.layer is not None and has_inverse(self.state[unit.key])]
            states = [self.state[layer.weight] for layer in layers]
            squares = [statistics.squares.get(layer.name) for layer in layers]
            correct_eigenvalues(layers, states, squares, self.settings.ema, self.processes)

    def _refresh(self, unit: Unit, state: dict[str, Any], group: dict[str, Any]) -> None:
        assert unit.layer is not None
        observed = "factor_updates" in state
        turn = self.steps % self.settings.inverse_interval == self._phases[unit.key]
        due = observed and (turn or not has_inverse(state))
        if due or self._damping_each_step():
            state["damping"] = self._damping(unit, group).to(unit.key.device)
        if due:
            good, reports = refresh(unit.layer, state, self.settings)
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
