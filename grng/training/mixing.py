"""Mixup, CutMix and label smoothing, by timm: a batch's labels become probabilities.

What is drawn is a pure function of seed and step, whatever was drawn before: a resumed run and a run with another
optimizer mix the same pictures in the same way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from timm.data import mixup
from torch import Tensor

from grng.runs.sections import AugmentConfig
from grng.training.seeding import derive, preserved_rng

_Mixup: Any = mixup.Mixup  # timm's have no types
_smoothed: Any = mixup.mixup_target


class Mixing:
    """Changes whole batches, and their labels to class probabilities.

    Args:
        augment: The settings.
        num_classes: Number of classes.
        seed: The run's seed.
    """

    def __init__(self, augment: AugmentConfig, num_classes: int, *, seed: int) -> None:
        self._smoothing = augment.label_smoothing
        self._num_classes = num_classes
        self._seed = seed
        self._mixup: Any = None
        if augment.mixup > 0 or augment.cutmix > 0:
            self._mixup = _Mixup(
                mixup_alpha=augment.mixup,
                cutmix_alpha=augment.cutmix,
                prob=augment.mixup_prob,
                switch_prob=augment.mixup_switch_prob,
                label_smoothing=augment.label_smoothing,
                num_classes=num_classes,
            )

    @property
    def pairs(self) -> bool:
        """Whether images are mixed, each with the one as far from the batch's other end."""
        return self._mixup is not None

    def __call__(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of one step, mixed.

        Args:
            images: float32 [n, c, h, w]; changed in place.
            labels: int64 [n].
            step: Steps done before this one.

        Returns:
            Images, and float32 probabilities [n, classes]; labels as they are where nothing is mixed or smoothed.
        """
        if self._mixup is not None:
            with _numpy_seeded(derive(self._seed, "mixing", step)):
                images, labels = self._mixup(images, labels)
        elif self._smoothing:
            labels = _smoothed(labels, self._num_classes, smoothing=self._smoothing)
        return images, labels


@contextlib.contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Run a block with numpy's global generator, from which timm draws, at `seed`; leave all as they were."""
    with preserved_rng():
        np.random.seed([seed % 2**32, seed >> 32])  # noqa: NPY002 - the generator that timm draws from
        yield
