"""Which samples of a step's batch each of several processes trains on.

Every micro-batch is dealt out to all processes, in parts that differ by one sample at most, so that the processes'
micro-batches together, one process after the other, are those of a single one. Where the optimizer measures curvature
on the first share of its part, that share of the micro-batch is dealt out first, and then the rest:

    process 0    k₀ of the first share, m₀ − k₀ of the rest        m: samples of its part,  k = ⌈share · m⌉
    process 1    the next k₁,           the next m₁ − k₁ …

so that what all of them measure on is what a single process would (⌈share · M⌉ samples of M, a few more where a part's
share is no whole number).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from grng.training.order import BatchOrder


@dataclass(frozen=True)
class Deal:
    """One process's part of every batch.

    Args:
        rank: The process.
        size: The number of processes.
        batch_size: Samples of a step's whole batch, n.
        micro_batches: Equal parts that the batch is done in.
        share: Of every micro-batch, on which curvature is measured.
    """

    rank: int
    size: int
    batch_size: int
    micro_batches: int = 1
    share: float = 1.0

    @property
    def weight(self) -> float:
        """What the mean loss of this process's part counts for, in the mean over processes of the joined mean."""
        micro = self.batch_size // self.micro_batches
        return self._parts()[self.rank] * self.size / micro

    def places(self) -> Tensor:
        """Return where this process's samples stand in the whole batch, int64, one micro-batch after the other."""
        micro, parts = self.batch_size // self.micro_batches, self._parts()
        first = [math.ceil(self.share * part) for part in parts]
        rest = [part - some for part, some in zip(parts, first, strict=True)]
        begin = sum(first[: self.rank])
        then = sum(first) + sum(rest[: self.rank])
        own = torch.cat([torch.arange(begin, begin + first[self.rank]), torch.arange(then, then + rest[self.rank])])
        return (own + micro * torch.arange(self.micro_batches)[:, None]).reshape(-1)

    def _parts(self) -> list[int]:
        """Return each process's samples of a micro-batch."""
        least, left = divmod(self.batch_size // self.micro_batches, self.size)
        return [least + (rank < left) for rank in range(self.size)]


class DealtOrder(BatchOrder):
    """The samples of each step that one process reads.

    Args:
        order: Of the whole batches.
        deal: This process's part.
        paired: Whether images are mixed in pairs, as timm has it: sample i with sample n − 1 − i of the whole batch.
            The partners then follow, in such an order that the same rule pairs them.
    """

    def __init__(self, order: BatchOrder, deal: Deal, *, paired: bool) -> None:
        super().__init__(order.count, order.batch_size, seed=order.seed)
        own = deal.places()
        partners = order.batch_size - 1 - own.flip(0)
        self._places = torch.cat([own, partners]) if paired else own

    def batch(self, step: int) -> Tensor:
        """Return the indices of one step's samples."""
        return super().batch(step)[self._places]
