"""Hashes that prove two runs started from the same weights and saw the same batches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def init_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of a model's `state_dict()`: names, shapes, types, and bytes, in the dictionary's order."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


class BatchChain:
    """A running hash of the batches seen, hₖ = sha256(hₖ₋₁ ‖ indices), h₀ = 32 zero bytes.

    A chain and not one long hash, because its 32 bytes fit into a checkpoint and its value after each epoch can be
    compared between runs of different lengths.

    Args:
        digest: The hexadecimal value to go on from; None starts anew.
    """

    def __init__(self, digest: str | None = None) -> None:
        self._digest = bytes(32) if digest is None else bytes.fromhex(digest)

    def update(self, indices: Tensor) -> None:
        """Take in one batch: int64 sample indices [n]."""
        self._digest = hashlib.sha256(self._digest + _bytes(indices)).digest()

    @property
    def hexdigest(self) -> str:
        """The chain's value so far."""
        return self._digest.hex()


def _bytes(tensor: Tensor) -> bytes:
    """Return a tensor's elements as bytes, row-major; works for types that numpy lacks, such as bfloat16."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()
