"""torchvision's data sets: opened from files that are there, or downloaded when asked.

torchvision checks the published MD5 of what it unpickles (CIFAR) before it does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from grng.data.doors import TORCH_SETS, Role, TorchSet
from grng.data.pictures import ArrayPictures, Pictures, Source
from grng.errors import GrngError

WHERE = "dataset.data_dir"
_PATHS = ("_image_files", "_images", "_samples", "samples", "imgs")
_LABELS = ("targets", "_labels", "labels", "y")


class TorchPictures:
    """A torchvision data set whose pictures are files.

    Args:
        data: The data set, without transforms.
        role: Its split, for the names of pictures that have no path.
    """

    def __init__(self, data: Any, role: Role) -> None:
        self._data = data
        self._role = role
        self.labels = labels_of(data)
        self._paths = _paths_of(data)

    def name(self, index: int) -> str:
        """Return the file's path, or split and number."""
        return self._paths[index] if self._paths else f"{self._role}[{index:07d}]"

    def read(self, index: int) -> Image.Image:
        """Return the picture, decoded."""
        image: Image.Image = self._data[index][0]
        image.load()
        return image


def open_torch(name: str, root: Path, *, download: bool) -> Source:
    """Return torchvision's data set `name`.

    Args:
        name: A key of `TORCH_SETS`.
        root: Where its files are.
        download: Whether to download what is missing.

    Raises:
        GrngError: If files are missing or damaged, or cannot be downloaded.
    """
    known = TORCH_SETS[name]
    if download and not known.downloads:
        raise GrngError(f"torchvision cannot download {name}.", where="dataset.download", hint=_by_hand(known, root))
    if download:
        _check_writable(root)
    sets = {role: _open(name, known, role, root, download=download) for role in known.splits}
    pools: dict[Role, Pictures] = {role: _pictures(data, role) for role, data in sets.items()}
    count = 1 + max(max(pictures.labels) for pictures in pools.values())
    return Source(_classes(sets["train"], count), pools)


def labels_of(data: Any) -> list[int]:
    """Return the class of every picture of a torchvision data set, without decoding any where it knows them."""
    for attribute in _LABELS:
        if hasattr(data, attribute):
            labels = np.asarray(getattr(data, attribute))
            return [int(label) for label in (labels[:, 0] if labels.ndim > 1 else labels)]  # QMNIST has more columns
    for attribute in ("_samples", "samples"):
        if hasattr(data, attribute):
            return [int(label) for _, label in getattr(data, attribute)]
    if hasattr(data, "all_categories"):
        return [int(label) for label, _ in data.index]
    return [int(data[index][1]) for index in range(len(data))]


def _open(name: str, known: TorchSet, role: Role, root: Path, *, download: bool) -> Any:
    import torchvision.datasets

    arguments = dict(known.splits[role], **({"download": download} if known.downloads else {}))
    kind = getattr(torchvision.datasets, known.kind)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what torchvision prints is chatter
            return kind(str(root), **arguments)
    except ImportError as error:
        raise GrngError(f"torch/{name} needs another package: {error}.", where="dataset.name") from error
    except Exception as error:
        if download:
            text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            message = f"torch/{name} cannot be downloaded to {root}: {text}."
            hint = "Look whether the net can be reached and the folder written to; what was downloaded is kept."
            raise GrngError(message, where="dataset.download", hint=hint) from error
        hint = f"Give --download to download it, or another --data-dir; torchvision's {known.kind} looked for it there."
        raise GrngError(
            f"torch/{name} is not in {root}, or is damaged there.",
            where=WHERE,
            hint=hint if known.downloads else _by_hand(known, root),
        ) from error


def _by_hand(known: TorchSet, root: Path) -> str:
    return f"Put it into {root} as torchvision.datasets.{known.kind} describes."


def _check_writable(root: Path) -> None:
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise GrngError(
            f"nothing can be downloaded to {root}: {place} is not writable.",
            where=WHERE,
            hint="Choose another --data-dir, or change its permissions.",
        )


def _pictures(data: Any, role: Role) -> Pictures:
    arrays = getattr(data, "data", None)
    if arrays is None:
        return TorchPictures(data, role)
    pixels = np.asarray(arrays)
    if pixels.ndim == 4 and pixels.shape[1] == 3:  # SVHN and STL10 have channels first
        pixels = pixels.transpose(0, 2, 3, 1)
    return ArrayPictures(np.ascontiguousarray(pixels), labels_of(data), role)


def _paths_of(data: Any) -> list[str] | None:
    for attribute in _PATHS:
        entries: Sequence[Any] | None = getattr(data, attribute, None)
        if entries:
            return [str(entry[0] if isinstance(entry, tuple) else entry) for entry in entries]
    return None


def _classes(data: Any, count: int) -> tuple[str, ...]:
    names = getattr(data, "classes", None) or getattr(data, "categories", None) or getattr(data, "all_categories", None)
    if names is None or len(names) != count:
        return tuple(str(number) for number in range(count))
    return tuple(str(name) for name in names)
