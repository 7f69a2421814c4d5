"""Float32 or better for whatever outlives a step: averages and sums of half-precision numbers round too much away."""

from __future__ import annotations

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
