"""What a data set is to the trainer: three splits of normalised images in memory."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Args:
        images: float32 [n, c, h, w], normalised with the training split's mean and standard deviation.
        labels: int64 [n], in 0 … classes - 1.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class DataBundle:
    """A data set, split and normalised.

    Args:
        name: Its name in the registry.
        train: For training.
        val: For validation: choosing hyperparameters, targets, the best epoch.
        test: For the table, measured once at the end.
        num_classes: Number of classes.
        channels: Channels of the images, c.
        img_size: Height and width of the images in pixels, h = w.
        target: Default target: a validation accuracy as a fraction.
        mean: Per channel, of the training split's pixels in [0, 1], after padding and resizing.
        std: Per channel, likewise.
        description: One sentence.
    """

    name: str
    train: Split
    val: Split
    test: Split
    num_classes: int
    channels: int
    img_size: int
    target: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    description: str
