"""Memory that is kept from step to step for what every step makes anew.

Memory that a process has just been given costs a page fault for every 4 KiB, which took several times as long as
writing the numbers (measured: 48 MiB in 33 ms, in kept memory 5 ms). What is as large as many rows of gradients is
therefore written into the same memory at every step. Its contents count for one step only: no copy and no checkpoint
has them.
"""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor


class Scratch:
    """Tensors by key, made when they are first asked for."""

    def __init__(self) -> None:
        self._held: dict[Hashable, Tensor] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return (Scratch, ())

    def take(self, key: Hashable, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return a tensor of that shape in the dtype and on the device of `like`; it holds anything.

        What was taken for the same key before is overwritten by whoever writes to this one.
        """
        held = self._held.get(key)
        if held is None or held.shape != shape or held.dtype != like.dtype or held.device != like.device:
            held = self._held[key] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return held
