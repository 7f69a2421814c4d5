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

from grng.curvature.inverse import NewtonReport
from grng.curvature.precision import wide, wide_zeros
from grng.optim.adamw_rule import adamw_step
from grng.optim.blocks import Joined, correct_eigenvalues, direction, has_inverse, refresh
from grng.optim.fisher import corrected_average
from grng.optim.gather import Statistics
from grng.optim.groups import ParamsInput
from grng.optim.joining import join_statistics
from grng.optim.layerwise import LayerwiseOptimizer
from grng.optim.settings import KroneckerSettings
from grng.optim.sharing import refresh_shared, worthwhile
from grng.optim.stacks import Stack, stacked
from grng.optim.units import Unit
from grng.optim.update import move, nesterov, normalise, trust_region

Move = tuple[Stack, Tensor, Tensor]  # units of one shape, their V, and their step δ


class NaturalGradient(LayerwiseOptimizer):
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

    failed_inversions: int = 0
    _reports: Sequence[NewtonReport] = ()

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
        super().__init__(model, params, defaults, settings, likelihood=likelihood, seed=seed)
        self._joined = Joined()

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

    # --- the step

    def _step(self, closure: Callable[[], float] | None) -> None:
        group_of = {p: group for group in self.param_groups for p in group["params"]}
        gradients = {p: p.grad for p in group_of if p.grad is not None}
        vectors = self._vectors(gradients, closure)
        statistics, self._statistics = self._statistics, Statistics()
        if self.curvature_due:
            self._readmit_called(statistics)
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
        moves = [self._move(stack, mixed, group_of) for stack in stacked(units, self.state, mixed)]
        if self.settings.step_norm == "rms":
            normalise([[row] for stack, _, step in moves for row in stack.rows(step)])
        if self.settings.kl_clip is not None and moves:
            self._clip(moves, group_of, self.settings.kl_clip)
        directions = {p: step for stack, _, steps in moves for p, step in stack.scatter(steps).items()}
        for group in self.param_groups:
            members = [p for p in group["params"] if p in directions]
            own = [directions[p] for p in members]
            move(group, self.state, members, own, momentum_of_step=self.settings.momentum_form == "step")
        if self.settings.other_parameters == "adamw":
            covered = {p for unit in self._partition.units if unit.layer is not None for p in unit.parameters}
            for group in self.param_groups:
                adamw_step(self._other_group(group, covered), vectors, self.state)

    def _momenta(
        self, units: Sequence[Unit], vectors: dict[nn.Parameter, Tensor], group_of: dict[nn.Parameter, dict[str, Any]]
    ) -> dict[nn.Parameter, Tensor]:
        """Return V for every parameter of the units; one without a gradient, beside one that has it, counts as zero."""
        every = {p: wide(vectors[p]) if p in vectors else wide_zeros(p) for unit in units for p in unit.parameters}
        if self.settings.momentum_form != "gradient":
            return every
        for group in self.param_groups:
            members = [p for p in group["params"] if p in every]
            mixed = nesterov(self.state, members, [every[p] for p in members], group["momentum"])
            every.update(zip(members, mixed, strict=True))
        return every

    def _move(
        self, stack: Stack, mixed: dict[nn.Parameter, Tensor], group_of: dict[nn.Parameter, dict[str, Any]]
    ) -> Move:
        vectors = stack.gather(mixed)
        states = [self.state[unit.key] for unit in stack.units]
        if stack.units[0].layer is None:
            for unit in stack.units:
                self._refresh_diagonal(unit, group_of[unit.key])
            return stack, vectors, self._diagonal_step(states, vectors).contiguous()
        dampings = [state["damping"] for state in states if "damping" in state]
        steps = direction(states, vectors, self.settings, dampings, self._joined)
        return stack, vectors, steps.to(vectors.dtype).contiguous()  # so that rows are views

    def _clip(self, moves: Sequence[Move], group_of: dict[nn.Parameter, dict[str, Any]], clip: float) -> None:
        """Scale all steps, in place, to stay inside the trust region."""
        pairs: list[tuple[Tensor, Tensor, float]] = []
        for stack, vectors, steps in moves:
            rates = {p: group_of[p]["lr"] for unit in stack.units for p in unit.parameters}
            if len(set(rates.values())) == 1:
                pairs.append((steps, vectors, next(iter(rates.values()))))
            else:
                own, of_vectors = stack.scatter(steps), stack.scatter(vectors)
                pairs += [(own[p], of_vectors[p], rate) for p, rate in rates.items()]
        scale = trust_region(
            [step for step, _, _ in pairs], [vector for _, vector, _ in pairs], [rate for _, _, rate in pairs], clip
        )
        torch._foreach_mul_([steps for _, _, steps in moves], [scale.to(steps.dtype) for _, _, steps in moves])

    def _refresh_blocks(
        self, units: Sequence[Unit], group_of: dict[nn.Parameter, dict[str, Any]], statistics: Statistics
    ) -> None:
        due = [unit for unit in units if self._prepare_refresh(unit, self.state[unit.key], group_of[unit.key])]
        for good, reports in self._refreshed(due):
            self._reports = [*self._reports, *reports]
            self.failed_inversions += not good
        if self.settings.eigenvalue_correction and self.curvature_due:
            layers = [unit.layer for unit in units if unit.layer is not None and has_inverse(self.state[unit.key])]
            states = [self.state[layer.weight] for layer in layers]
            squares = [statistics.squares.get(layer.name) for layer in layers]
            correct_eigenvalues(layers, states, squares, self.settings.ema, self.processes)

    def _prepare_refresh(self, unit: Unit, state: dict[str, Any], group: dict[str, Any]) -> bool:
        """Set a layer's damping where it is read in this step; return whether its block is due."""
        observed = "factor_updates" in state
        turn = self.steps % self.settings.inverse_interval == self._phases[unit.key]
        due = observed and (turn or not has_inverse(state))
        if due or self._damping_each_step():
            state["damping"] = self._damping(unit, group).to(unit.key.device)
        return bool(due)

    def _refreshed(self, due: Sequence[Unit]) -> list[tuple[bool, list[NewtonReport]]]:
        """Compute what is due anew, of several processes each a part of it."""
        layers = [unit.layer for unit in due if unit.layer is not None]
        states = [self.state[layer.weight] for layer in layers]
        processes = self.processes

        def one(place: int) -> tuple[bool, list[NewtonReport]]:
            return refresh(layers[place], states[place], self.settings)

        if not processes.active or not worthwhile(states):
            return [one(place) for place in range(len(layers))]
        groups = [layer.groups for layer in layers]
        return refresh_shared(states, groups, one, processes, exact=self.settings.damping_form == "exact")

    def _refresh_diagonal(self, unit: Unit, group: dict[str, Any]) -> None:
        state = self.state[unit.key]
        if self._damping_each_step() or "damping" not in state or self.steps % self.settings.inverse_interval == 0:
            state["damping"] = self._damping(unit, group).to(unit.key.device)

    def _diagonal_step(self, states: Sequence[dict[str, Any]], vectors: Tensor) -> Tensor:
        averages = [corrected_average(state, "fisher", self.settings.ema) for state in states]
        observed = [average for average in averages if average is not None]
        if not observed:  # see blocks.direction
            return -vectors
        fisher = torch.stack(observed)
        dampings = torch.stack([state["damping"] for state in states]).to(fisher.dtype)
        return (vectors / fisher.add_(dampings.reshape(-1, *(1,) * (fisher.dim() - 1)))).neg_()

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
        return {**super()._extra_state(), "failed_inversions": self.failed_inversions}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        super()._load_extra_state(extra)
        self.failed_inversions = int(extra["failed_inversions"])
