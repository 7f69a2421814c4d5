"""Float32 or better for whatever outlives a step: averages and sums of half-precision numbers round too much away."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def wide_dtype(tensor: Tensor) -> torch.dtype:
    """Return the tensor's dtype, or float32 for one in half precision."""
    return torch.promote_types(tensor.dtype, torch.float32)


def wide(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 or better; itself where it is."""
    return tensor.to(wide_dtype(tensor))


def wide_zeros(like: Tensor) -> Tensor:
    """Return zeros in the shape, memory format and device of `like`, in float32 or better."""
    return torch.zeros_like(like, dtype=wide_dtype(like), requires_grad=False)


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of every tensor, `[tensors]` in float64; infinite where a square of float32 overflows.

    Summed in the tensors' own precision: on a CPU, asking for a wider one takes ten times as long.
    """
    kinds = {tensor.dtype for tensor in tensors}
    own = kinds in ({torch.float32}, {torch.float64})
    return torch.stack(torch._foreach_norm(list(tensors), dtype=None if own else torch.float64)).double()


def inner_product(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return Σ ⟨l, r⟩ over the pairs of tensors, a scalar of float64; each pair is summed in its own precision.

    Without a tensor of products, which would take longer to get than the sum.
    """
    sums: list[Tensor] = []
    for one, other in zip(left, right, strict=True):
        kind = torch.promote_types(one.dtype, other.dtype)
        sums.append(torch.dot(one.reshape(-1).to(kind), other.reshape(-1).to(kind)).double())
    return torch.stack(sums).sum()
