"""From a batch of images and labels to what the model and the loss are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from grng.training.loss import Loss
from grng.training.mixing import Mixing


@dataclass(frozen=True)
class Preparation:
    """What is done to every training batch, on the device.

    Args:
        mixing: Mixup, CutMix, label smoothing.
        loss: Which says what targets look like.
        num_classes: Number of classes.
        channels_last: Whether images are laid out channels last.
        kept: How many of the mixed images are trained on; None: all. The others are there to be mixed with
            (`DealtOrder`).
    """

    mixing: Mixing
    loss: Loss
    num_classes: int
    channels_last: bool
    kept: int | None = None

    def __call__(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return images [n, c, h, w] and targets of one step.

        Args:
            images: float32 [n, c, h, w]; may be changed in place.
            labels: int64 [n].
            step: Steps done before this one.
        """
        images, labels = (mixed[: self.kept] for mixed in self.mixing(images, labels, step))
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, self.loss.targets(labels, self.num_classes)


def to_channels_last(model: nn.Module) -> None:
    """Lay out the weights channels last; operations on them, and their outputs, follow the weights' layout."""
    to: Any = model.to  # one of its signatures has no types
    to(memory_format=torch.channels_last)
