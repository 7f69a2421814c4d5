"""The recursion that R-Kalman's filters over all weights share: predict, regularise, observe, move.

    1. predict      P ← min(P/γ + q, P₀)
    2. regularise   P ← P ⊘ (1 + B ρ ‖g‖² P)
    3. observe      Δθ and the fall of P: see `rkalman_loss`, `rkalman_samples`, `rkalman_outputs`
    4. move         θ ← θ − lr·w·θ;  m ← β m + (1−β) Δθ, bias-corrected;  θ ← θ + lr m

P is a variance an entry (`covariance="diagonal"`) or a tensor (`"block"`). Elementwise arithmetic goes through torch's
foreach functions, one call for all tensors: a loop would cost more than the arithmetic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from grng.curvature.coverage import Coverage
from grng.curvature.layers import Layer, find_layers
from grng.curvature.precision import norms, wide_dtype, wide_zeros

if TYPE_CHECKING:
    from grng.optim.rkalman import RKalman

Tensors = dict[nn.Parameter, Tensor]


class Filter(Protocol):
    """What `RKalman` asks of a mode; the optimizer is given, so that a filter holds no reference to it."""

    def split(self, model: nn.Module, held: Sequence[nn.Parameter], group: dict[str, Any]) -> list[dict[str, Any]]:
        """Part a parameter group by the rule that steps it; `held` are all parameters of the optimizer."""

    def watched(self, model: nn.Module, held: Sequence[nn.Parameter]) -> list[Layer]:
        """Return the layers whose inputs and output gradients are wanted."""

    def coverage(self, model: nn.Module) -> Coverage | None:
        """Say which parameter is stepped by which rule, or None where one rule serves all."""

    def observe(self, optimizer: RKalman, outputs: Tensor, targets: Tensor) -> None:
        """Take note of one micro-batch."""

    def step(self, optimizer: RKalman) -> None:
        """Take the step."""

    def forget(self) -> None:
        """Forget what was observed for the coming step."""

    def diagnostics(self) -> dict[str, float]:
        """Return what was measured in the last step."""

    def state(self) -> dict[str, Any]:
        """Return what is to be saved beside the parameters' state."""

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """Load what `state` returned."""


class GlobalFilter(ABC):
    """One filter over all weights; subclasses say what is observed.

    Args:
        values: The optimizer's hyperparameters, defaults filled in.
    """

    needs_layers = False

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.rho: float = values["rho"]
        self.initial_covariance: float = values["initial_covariance"]
        self.forgetting: float = values["forgetting"]
        self.process_noise: float = values["process_noise"]
        self.covariance: str = values["covariance"]
        self.update: str = values["update"]
        self.last: dict[str, float] = {}

    # --- what subclasses say

    @abstractmethod
    def observe(self, optimizer: RKalman, outputs: Tensor, targets: Tensor) -> None:
        """Take note of one micro-batch."""

    @abstractmethod
    def steps(self, optimizer: RKalman, gradients: Tensors, covariance: Tensors) -> Tensors:
        """Return Δθ / lr, and lower `covariance` (the state's own tensors) by what was observed."""

    # --- the recursion

    def step(self, optimizer: RKalman) -> None:
        """Predict, regularise, observe, move."""
        groups = optimizer.param_groups
        gradients = {p: p.grad.detach() for group in groups for p in group["params"] if p.grad is not None}
        if not gradients:
            self.forget()
            return
        square = norms(list(gradients.values())).square().sum()
        optimizer.join_samples()
        precision = optimizer.samples * self.rho * square
        covariance = self._predicted(optimizer.state, list(gradients), precision)
        steps = self.steps(optimizer, gradients, covariance)
        for group in groups:
            members = [p for p in group["params"] if p in steps]
            _move(optimizer.state, members, [steps[p] for p in members], group)
        if optimizer.collect_diagnostics:
            self.last |= self._summary(covariance)

    @abstractmethod
    def forget(self) -> None:
        """Forget what was observed for the coming step."""

    def _predicted(
        self, states: MutableMapping[Any, Any], parameters: Sequence[nn.Parameter], precision: Tensor
    ) -> Tensors:
        """Predict and regularise: P ← min(P/γ + q, P₀), then P ⊘ (1 + precision · P); `precision` is B ρ ‖g‖²."""
        for p in parameters:
            if "covariance" not in states[p]:
                like = p if self.covariance == "diagonal" else p.new_zeros(())
                states[p]["covariance"] = torch.full_like(
                    like, self.initial_covariance, dtype=wide_dtype(p), requires_grad=False
                )
        variances: list[Tensor] = [states[p]["covariance"] for p in parameters]
        torch._foreach_div_(variances, self.forgetting)
        torch._foreach_add_(variances, self.process_noise)
        torch._foreach_clamp_max_(variances, self.initial_covariance)
        shrinking = torch._foreach_mul(variances, [precision.to(variance.dtype) for variance in variances])
        torch._foreach_add_(shrinking, 1.0)
        torch._foreach_div_(variances, shrinking)
        return dict(zip(parameters, variances, strict=True))

    def lower(self, variances: Sequence[Tensor], falls: Sequence[Tensor]) -> None:
        """P ← P − fall, `falls` an entry of diag(K H P) each; a tensor's one variance falls by their mean."""
        if not variances:
            return
        torch._foreach_sub_(list(variances), self._by_variance(falls))
        torch._foreach_clamp_min_(list(variances), 0.0)  # rounding must not make a variance negative

    def inform(self, variances: Sequence[Tensor], informations: Sequence[Tensor]) -> None:
        """P ← P ⊘ (1 + P ⊙ information), `informations` an entry of diag(Hᵀ R⁻¹ H) each."""
        if not variances:
            return
        shrinking = torch._foreach_mul(self._by_variance(informations), list(variances))
        torch._foreach_add_(shrinking, 1.0)
        torch._foreach_div_(list(variances), shrinking)

    def _by_variance(self, entries: Sequence[Tensor]) -> list[Tensor]:
        return list(entries) if self.covariance == "diagonal" else [each.mean() for each in entries]

    # --- one rule for all parameters

    def split(self, model: nn.Module, held: Sequence[nn.Parameter], group: dict[str, Any]) -> list[dict[str, Any]]:
        """Leave the group whole."""
        return [group]

    def watched(self, model: nn.Module, held: Sequence[nn.Parameter]) -> list[Layer]:
        """Return the Linear and Conv2d layers where rows are wanted, else none."""
        return find_layers(model, set(held), max_factor_size=None)[0] if self.needs_layers else []

    def coverage(self, model: nn.Module) -> Coverage | None:
        """Return None: one rule serves all."""
        return None

    def _summary(self, covariance: Tensors) -> dict[str, float]:
        sizes = [p.numel() if self.covariance == "block" else 1 for p in covariance]
        variances = list(covariance.values())
        return {
            "covariance_trace": sum(
                float(variance.sum(dtype=torch.float64)) * size for variance, size in zip(variances, sizes, strict=True)
            ),
            "covariance_max": max(float(variance.max()) for variance in variances),
            "covariance_min": min(float(variance.min()) for variance in variances),
        }

    def diagnostics(self) -> dict[str, float]:
        """Return what was measured in the last step."""
        return dict(self.last)

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what is to be saved beside the parameters' state."""

    @abstractmethod
    def load_state(self, saved: Mapping[str, Any]) -> None:
        """Load what `state` returned."""


def _move(
    states: MutableMapping[Any, Any],
    parameters: Sequence[nn.Parameter],
    steps: Sequence[Tensor],
    group: Mapping[str, Any],
) -> None:
    if not parameters:
        return
    members: list[Tensor] = list(parameters)
    moved = list(steps)
    if group["weight_decay"]:
        torch._foreach_mul_(members, 1.0 - group["lr"] * group["weight_decay"])
    if group["momentum"]:
        for p in parameters:
            if "momentum_buffer" not in states[p]:
                states[p].update(momentum_buffer=wide_zeros(p), momentum_updates=0)
            states[p]["momentum_updates"] += 1
        buffers: list[Tensor] = [states[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(buffers, moved, 1.0 - group["momentum"])
        moved = list(
            torch._foreach_div(buffers, [1.0 - group["momentum"] ** states[p]["momentum_updates"] for p in parameters])
        )
    torch._foreach_add_(members, moved, alpha=group["lr"])
