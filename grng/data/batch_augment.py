"""Flips, padded crops and erased rectangles of a whole batch at once, on its device.

The same functions serve pictures that were read one by one and pictures that are all in memory, with the same draws, so
that both give the same images bit for bit. timm's and torchvision's own draw from global generators, one picture at a
time; the laws are theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from grng.data.draws import uniforms

_ATTEMPTS = 10
_AREA = (0.02, 1 / 3)
_LOG_ASPECT = (math.log(0.3), math.log(1 / 0.3))
_TOP, _LEFT, _FLIP, _ERASE, _RECTANGLES = 0, 1, 2, 3, 4
COLUMNS = _RECTANGLES + 4 * _ATTEMPTS


@dataclass(frozen=True)
class BatchAugment:
    """What is done to every training batch.

    Args:
        flip: Probability of mirroring left to right.
        padding: Pixels around each image before an image-sized window is cut at random; None: no crop.
        erasing: Probability of erasing a rectangle, timm's `RandomErasing` in mode `const`.
    """

    flip: float = 0.0
    padding: int | None = None
    erasing: float = 0.0

    @property
    def active(self) -> bool:
        """Whether anything is done."""
        return bool(self.flip or self.padding or self.erasing)


def augmented(
    images: Tensor, samples: Tensor, how: BatchAugment, *, stream: int, mean: Tensor | None, std: Tensor | None
) -> Tensor:
    """Return a training batch ready for the model.

    Args:
        images: [n, c, h, w], uint8, or floating point and normalised already.
        samples: int64 [n] on the CPU: which samples these are.
        how: What is done.
        stream: Names the draws, `grng.data.draws`; another one each epoch.
        mean: [c, 1, 1] of pixels in [0, 1].
        std: Likewise; uint8 images are normalised with both.
    """
    if not how.active:
        return normalised(images, mean, std)
    draws = uniforms(stream, samples.numpy(), COLUMNS)
    if how.padding:
        images = pad_crop(images, draws, how.padding, black=None if mean is None or std is None else -mean / std)
    if how.flip:
        mirrored = torch.from_numpy(draws[:, _FLIP] < how.flip).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    images = normalised(images, mean, std)
    return erase(images, draws, how.erasing) if how.erasing else images


def normalised(images: Tensor, mean: Tensor | None, std: Tensor | None) -> Tensor:
    """Return uint8 images as torchvision's `ToTensor` and `Normalize` would; others as they are."""
    if images.dtype != torch.uint8 or mean is None or std is None:
        return images
    return images.float().div_(255).sub_(mean).div_(std)


def pad_crop(images: Tensor, draws: NDArray[np.float64], padding: int, *, black: Tensor | None = None) -> Tensor:
    """Cut from each image, with `padding` black pixels around it, a window of its own size at random.

    Args:
        images: [n, c, h, w].
        draws: As of `augmented`.
        padding: In pixels.
        black: [c, 1, 1], of floating-point images; None: 0.
    """
    count, _, height, width = images.shape
    if images.is_floating_point() and black is not None:
        padded = F.pad(images - black, [padding] * 4) + black
        padded[:, :, padding:-padding, padding:-padding] = images  # as they were, bit for bit
    else:
        padded = F.pad(images, [padding] * 4)
    offsets = torch.from_numpy((draws[:, [_TOP, _LEFT]] * (2 * padding + 1)).astype(np.int64)).to(images.device)
    rows = offsets[:, 0, None] + torch.arange(height, device=images.device)
    columns = offsets[:, 1, None] + torch.arange(width, device=images.device)
    every = torch.arange(count, device=images.device)
    windows = padded[every[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return windows.permute(0, 3, 1, 2).contiguous()


def erase(images: Tensor, draws: NDArray[np.float64], probability: float) -> Tensor:
    """Set a rectangle in some of the images to 0, the mean.

    Args:
        images: [n, c, h, w], normalised.
        draws: As of `augmented`.
        probability: Of erasing.
    """
    height, width = images.shape[-2:]
    top, left, tall, wide = rectangles(draws, height, width, probability)

    def within(begin: NDArray[np.int64], length: NDArray[np.int64], size: int) -> Tensor:
        places = np.arange(size)
        inside = (places >= begin[:, None]) & (places < (begin + length)[:, None])
        return torch.from_numpy(inside).to(images.device)

    mask = within(top, tall, height)[:, None, :, None] & within(left, wide, width)[:, None, None, :]
    return images.masked_fill(mask, 0.0)


def rectangles(
    draws: NDArray[np.float64], height: int, width: int, probability: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return top, left, height and width in pixels, [n] each, of what is erased; 0 high where nothing is.

    Area and aspect are drawn until the rectangle is smaller than the image, ten times at most, as timm does.
    """
    tries = draws[:, _RECTANGLES:COLUMNS].reshape(len(draws), _ATTEMPTS, 4)
    area = (_AREA[0] + tries[..., 0] * (_AREA[1] - _AREA[0])) * height * width
    aspect = np.exp(_LOG_ASPECT[0] + tries[..., 1] * (_LOG_ASPECT[1] - _LOG_ASPECT[0]))
    tall, wide = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (tall < height) & (wide < width)
    first = fits.argmax(axis=1)
    every = np.arange(len(draws))
    erased = (draws[:, _ERASE] < probability) & fits[every, first]
    high, broad = tall[every, first], wide[every, first]
    top = np.floor(tries[every, first, 2] * (height - high + 1))
    left = np.floor(tries[every, first, 3] * (width - broad + 1))
    high = np.where(erased, high, 0)
    return top.astype(np.int64), left.astype(np.int64), high.astype(np.int64), broad.astype(np.int64)
