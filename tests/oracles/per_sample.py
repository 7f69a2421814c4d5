"""Per-sample gradients by torch.func, one sample and one label at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F


def per_sample_gradients(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return ∇ℓ_b of the cross-entropy for given labels, `[batch, *parameter]` by name."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        found: dict[str, Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(values, inputs, labels)
    return found


def weighted_gradients(
    model: nn.Module, inputs: Tensor, labels: Sequence[Tensor], weights: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Return √w ∇ℓ_b for several labels a sample, `[labels * batch, *parameter]` by name: their squares add up to E."""
    parts = []
    for label, weight in zip(labels, weights, strict=True):
        found = per_sample_gradients(model, inputs, label)
        parts.append({name: g * weight.sqrt().reshape(-1, *[1] * (g.dim() - 1)) for name, g in found.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
