"""What happens to all units' steps at once: momentum, normalisation, trust region, weight decay, the move itself.

torch's foreach functions do one call for all tensors of a kind, where a loop would cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grng.curvature.precision import inner_product, norms, wide_zeros

SMALLEST_RMS = 1e-12


def nesterov(
    states: MutableMapping[Any, Any], parameters: Sequence[nn.Parameter], vectors: Sequence[Tensor], decay: float
) -> list[Tensor]:
    """Move m ← β m + (1−β) v, and return V = β m + (1−β) v; v itself where β is 0.

    Args:
        states: The optimizer's state, by parameter; `momentum_buffer` holds m.
        parameters: The parameters.
        vectors: v, one tensor a parameter.
        decay: β.
    """
    if decay == 0.0 or not parameters:
        return list(vectors)
    buffers = _buffers(states, parameters)
    torch._foreach_lerp_(buffers, list(vectors), 1.0 - decay)
    return list(torch._foreach_lerp(list(vectors), buffers, decay))


def normalise(units: Sequence[Sequence[Tensor]]) -> None:
    """Scale every unit's step to root-mean-square 1 in place (`step_norm="rms"`); a zero step stays zero."""
    steps = [step for unit in units for step in unit]
    if not steps:
        return
    counts = [sum(step.numel() for step in unit) for unit in units]
    squares = sums_by_unit(norms(steps).square(), units)
    scales = (squares / torch.tensor(counts).to(squares)).sqrt().clamp(min=SMALLEST_RMS).reciprocal()
    torch._foreach_mul_(steps, [scale for scale, unit in zip(scales.unbind(), units, strict=True) for _ in unit])


def sums_by_unit(values: Tensor, units: Sequence[Sequence[Any]]) -> Tensor:
    """Sum `[members]` over the members of every unit: `[units]`."""
    owners = torch.tensor([number for number, unit in enumerate(units) for _ in unit], dtype=torch.int64)
    owners = owners.to(values.device)
    return values.new_zeros(len(units)).index_add(0, owners, values)


def trust_region(steps: Sequence[Tensor], vectors: Sequence[Tensor], rates: Sequence[float], clip: float) -> Tensor:
    """Return min(1, sqrt(κ / (−Σ lr² δᵀV))), 1 where there is nothing to clip.

    Args:
        steps: δ, one tensor a parameter.
        vectors: V, likewise.
        rates: The learning rate of each.
        clip: κ.
    """
    by_rate: dict[float, list[tuple[Tensor, Tensor]]] = {}
    for rate, step, vector in zip(rates, steps, vectors, strict=True):
        by_rate.setdefault(rate, []).append((step, vector))
    decrease = -torch.stack(
        [rate**2 * inner_product(*zip(*pairs, strict=True)) for rate, pairs in by_rate.items()]
    ).sum()
    scale = (clip / decrease).sqrt().clamp(max=1.0)
    return torch.where(decrease > 0, scale, torch.ones_like(scale))


def move(
    group: Mapping[str, Any],
    states: MutableMapping[Any, Any],
    parameters: Sequence[nn.Parameter],
    steps: Sequence[Tensor],
    *,
    momentum_of_step: bool,
) -> None:
    """θ ← θ − lr·w·θ, then θ ← θ + lr·δ, with `momentum_of_step` θ ← θ + lr·m for m ← β m + δ."""
    if not parameters:
        return
    members: list[Tensor] = list(parameters)
    moved = list(steps)
    if group["weight_decay"]:
        torch._foreach_mul_(members, 1.0 - group["lr"] * group["weight_decay"])
    if momentum_of_step and group["momentum"]:
        buffers = _buffers(states, parameters)
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, moved)
        moved = buffers
    torch._foreach_add_(members, moved, alpha=group["lr"])


def _buffers(states: MutableMapping[Any, Any], parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    for p in parameters:
        if "momentum_buffer" not in states[p]:
            states[p]["momentum_buffer"] = wide_zeros(p)
    return [states[p]["momentum_buffer"] for p in parameters]
