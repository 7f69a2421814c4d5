"""AdamW for the parameters without Kronecker factors (`other_parameters="adamw"`): torch's own functional form.

Its state and its arithmetic are in float32 or better, whatever the parameters are in.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from grng.curvature.precision import wide, wide_zeros

BETAS = (0.9, 0.999)
EPS = 1e-8


def adamw_step(
    group: Mapping[str, Any], vectors: Mapping[nn.Parameter, Tensor], states: MutableMapping[Any, Any]
) -> None:
    """Step the parameters of one group that have a vector.

    Args:
        group: A parameter group with `lr` and `weight_decay`.
        vectors: The gradient (or what stands for it), by parameter.
        states: The optimizer's state, by parameter.
    """
    members = [p for p in group["params"] if p in vectors]
    if not members:
        return
    for p in members:
        if "exp_avg" not in states[p]:
            step = torch.zeros((), dtype=torch.float32)
            states[p].update(exp_avg=wide_zeros(p), exp_avg_sq=wide_zeros(p), step=step)
    on_cpu = all(p.device.type == "cpu" for p in members)
    moved = [wide(p) for p in members]  # itself, but for a parameter in half precision
    adamw(
        moved,
        [wide(vectors[p]) for p in members],
        [states[p]["exp_avg"] for p in members],
        [states[p]["exp_avg_sq"] for p in members],
        [],
        [states[p]["step"] for p in members],
        foreach=not on_cpu,
        fused=on_cpu,  # elsewhere it wants the step counters on the device
        amsgrad=False,
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=EPS,
        maximize=False,
    )
    for p, value in zip(members, moved, strict=True):
        if value is not p:
            p.copy_(value)
