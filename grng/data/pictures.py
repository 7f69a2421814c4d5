"""Pictures by their index, whatever holds them, and how any picture becomes RGB or grey."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from grng.data.doors import Role

_ORIENTATION = 0x0112
_SIXTEEN_BITS = 65535.0


class Pictures(Protocol):
    """Pictures that can be read in any order, from any process; picklable."""

    @property
    def labels(self) -> Sequence[int]:
        """The class of each, from 0."""

    def name(self, index: int) -> str:
        """Return what to call a picture in messages; for files the path, which also orders them."""

    def read(self, index: int) -> Image.Image:
        """Return a picture; raises whatever PIL raises if it cannot."""


@dataclass(frozen=True)
class Source:
    """What is behind a door.

    Args:
        classes: Names of the classes by label.
        pools: The pictures of each split that there is; the training split always.
        notes: What the user should know, one sentence each.
    """

    classes: tuple[str, ...]
    pools: Mapping[Role, Pictures]
    notes: tuple[str, ...] = ()


class FilePictures:
    """Picture files.

    Args:
        root: The folder that `paths` are relative to.
        paths: With forward slashes.
        labels: The class of each.
    """

    def __init__(self, root: Path, paths: Sequence[str], labels: Sequence[int]) -> None:
        self.root = root
        self.paths = paths
        self.labels = labels

    def name(self, index: int) -> str:
        """Return the path below the folder."""
        return self.paths[index]

    def read(self, index: int) -> Image.Image:
        """Return the picture, decoded."""
        return decode((self.root / self.paths[index]).read_bytes())


class ArrayPictures:
    """Pictures in memory.

    Args:
        arrays: uint8 [n, h, w] or [n, h, w, 3].
        labels: The class of each.
        prefix: Goes before the number in a picture's name.
    """

    def __init__(self, arrays: NDArray[np.uint8], labels: Sequence[int], prefix: str) -> None:
        self.arrays = arrays
        self.labels = labels
        self.prefix = prefix

    def name(self, index: int) -> str:
        """Return the split and the number, with leading zeros so that text sorts like numbers."""
        return f"{self.prefix}[{index:07d}]"

    def read(self, index: int) -> Image.Image:
        """Return the picture."""
        return Image.fromarray(self.arrays[index])


def decode(data: bytes) -> Image.Image:
    """Return the picture in `data`, all of it decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return a picture upright and in RGB or grey.

    The orientation that a camera wrote down (EXIF) is applied: pictures were labelled as viewers show them.
    Transparency is dropped, palettes and CMYK are converted, 16 bits a pixel are scaled to 8.

    Args:
        image: A decoded picture of any mode.
        mode: `RGB` or `L`.
    """
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        pixels = np.asarray(image, dtype=np.float64)
        top = _SIXTEEN_BITS if image.mode != "F" and pixels.max(initial=0) > 255 else 255.0
        image = Image.fromarray((pixels.clip(0, top) * (255.0 / top)).round().astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)
