"""Which training samples each step sees: a pure function of seed, step, and batch size."""

from __future__ import annotations

import torch
from torch import Tensor

from grng.errors import GrngError
from grng.training.seeding import generator


class BatchOrder:
    """The order of the training samples.

    Every epoch is a fresh permutation from a generator of its own, cut into full batches; what is left over waits for
    another epoch's permutation. Nothing here has to be saved: step k's batch can be asked for at any time.

    Args:
        count: Number of training samples.
        batch_size: Samples per batch, n.
        seed: The run's seed.

    Raises:
        GrngError: If not even one batch can be filled.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int) -> None:
        if batch_size > count:
            raise GrngError(
                f"a batch of {batch_size} is larger than the training set of {count} samples.",
                where="training.batch_size",
                hint=f"Use a batch size of at most {count}.",
            )
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = count // batch_size
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def batch(self, step: int) -> Tensor:
        """Return the sample indices of one step.

        Args:
            step: Steps done before this one, counted from 0 over the whole run.

        Returns:
            int64 indices [n] into the training split, on the CPU.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._permutation = torch.randperm(self.count, generator=generator(self.seed, "order", epoch))
            self._epoch = epoch
        return self._permutation[position * self.batch_size : (position + 1) * self.batch_size]
