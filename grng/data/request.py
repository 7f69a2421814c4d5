"""What is asked of a data set that is read from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Geometry:
    """How a picture becomes an image of the model's size.

    Args:
        img_size: Height and width in pixels.
        channels: 1 (grey) or 3 (RGB).
        interpolation: Of resizing, as timm calls it.
        crop_pct: Image size by the size that is resized to before the centre is cut out.
        crop_mode: timm's `center`, `squash` or `border`.
        mean: Per channel, of pixels in [0, 1].
        std: Per channel, likewise.
    """

    img_size: int
    channels: int
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def mode(self) -> str:
        """The picture's mode as PIL calls it."""
        return "L" if self.channels == 1 else "RGB"


@dataclass(frozen=True)
class DataRequest:
    """A data set behind a door (`grng.data.doors`), and how it is to be read.

    Args:
        name: `folder`, `torch/cifar10`, …
        data_dir: Where its files are.
        geometry: What becomes of the pictures.
        val_fraction: Share of the training pictures that makes a missing validation split.
        test_fraction: Likewise of the test split.
        split_seed: Seed of these.
        strict: Whether an unreadable picture or an empty class is an error.
        download: Whether missing files may be downloaded.
        verify: Whether to decode every picture once beforehand.
        in_memory: Whether to keep all pictures decoded; "auto": if they are small.
        per_picture: Whether the augmentation works on one picture at a time, before it is a tensor.
        input_key: The column with the pictures; None: found out.
        target_key: The column with the classes; None: found out.
        threads: How many pictures are decoded at once while loading.
    """

    name: str
    data_dir: Path | None
    geometry: Geometry
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    strict: bool = False
    download: bool = False
    verify: bool = True
    in_memory: Literal["auto"] | bool = "auto"
    per_picture: bool = False
    input_key: str | None = None
    target_key: str | None = None
    threads: int = 1
