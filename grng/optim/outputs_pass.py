"""One backward from the model's outputs for cotangents of our own; the user's backward needs the same graph later.

In float16 what is small underflows, as gradients do without a loss scale. The cotangents are scaled by a power of two,
which changes nothing else; where that overflows, they are taken as they are. A compiled backward may have no rule for
many cotangents at once; it then runs once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grng.curvature.precision import wide
from grng.errors import GrngError
from grng.optim.processes import behind_ddp

FLOAT16_SCALE = 2.0**10


def gradients_of_outputs(
    outputs: Tensor, inputs: Sequence[Any], cotangent: Tensor, *, batched: bool = False
) -> tuple[Tensor | None, ...]:
    """Return Σ_b (∂z_b/∂input)ᵀ cotangent_b, keeping the graph.

    Args:
        outputs: The model's outputs with their graph, `[batch, outputs]`.
        inputs: Parameters or gradient edges.
        cotangent: `[batch, outputs]`; with `batched` one more dimension in front.
        batched: Whether there are many cotangents; every result then has one more dimension in front, too.

    Raises:
        GrngError: The graph is gone, or was compiled to be used once only.
    """
    if outputs.dtype != torch.float16:
        return _pull(outputs, inputs, cotangent, batched=batched)
    scaled = _pull(outputs, inputs, cotangent * FLOAT16_SCALE, batched=batched)
    if all(bool(gradient.isfinite().all()) for gradient in scaled if gradient is not None):
        return tuple(None if gradient is None else wide(gradient) / FLOAT16_SCALE for gradient in scaled)
    return _pull(outputs, inputs, cotangent, batched=batched)


def _pull(outputs: Tensor, inputs: Sequence[Any], cotangent: Tensor, *, batched: bool) -> tuple[Tensor | None, ...]:
    try:
        return torch.autograd.grad(
            behind_ddp(outputs),
            inputs,
            grad_outputs=cotangent.to(outputs.dtype),
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=batched,
        )
    except RuntimeError as error:
        if "second time" in str(error):
            raise GrngError(
                "observe was called after backward, which had freed the graph.",
                where="observe",
                hint="Call optimizer.observe(outputs, targets) between the forward and loss.backward().",
            ) from error
        if "donated buffers" in str(error):
            raise GrngError(
                "the model was compiled for a single backward, and the optimizer takes one of its own.",
                where="observe",
                hint="Set torch._functorch.config.donated_buffer = False before the compiled model's first forward.",
            ) from error
        if not batched:
            raise
    return _one_by_one(outputs, inputs, cotangent)


def _one_by_one(outputs: Tensor, inputs: Sequence[Any], cotangents: Tensor) -> tuple[Tensor | None, ...]:
    found = [_pull(outputs, inputs, cotangent, batched=False) for cotangent in cotangents]
    columns = zip(*found, strict=True)
    return tuple(None if column[0] is None else torch.stack(column) for column in columns)
