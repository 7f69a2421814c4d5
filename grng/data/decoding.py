"""Every picture decoded once: which of them are bad, and, where they are to stay in memory, what they hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from grng.data.pictures import ArrayPictures, Pictures, to_mode
from grng.data.pipeline import Transform, evaluation_transform
from grng.data.request import Geometry

_CHUNK = 64


def find_bad(pictures: Pictures, mode: str, *, threads: int) -> dict[int, str]:
    """Decode all pictures and return why, by index, some of them cannot be.

    Args:
        pictures: Any.
        mode: PIL's mode that they are converted to.
        threads: Pictures decoded at once; PIL decodes beside Python.
    """
    if isinstance(pictures, ArrayPictures):
        return {}

    def check(index: int) -> str | None:
        try:
            read(pictures, index, mode)
        except MemoryError:
            raise
        except Exception as error:
            return reason(error)
        return None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata of single pictures
        found = _in_threads(check, range(len(pictures.labels)), threads)
    return {index: why for index, why in enumerate(found) if why is not None}


def read(pictures: Pictures, index: int, mode: str) -> Image.Image:
    """Return a picture, decoded and in `mode`.

    Raises:
        Exception: Whatever PIL raises at a bad one.
    """
    return to_mode(pictures.read(index), mode)


def decode_all(pictures: Pictures, geometry: Geometry, *, threads: int) -> tuple[Tensor, dict[int, str]]:
    """Return all pictures as evaluation shows them, uint8 [n, c, s, s], and why some of them are bad (those are 0)."""
    transform = evaluation_transform(geometry)
    count, size = len(pictures.labels), geometry.img_size
    direct = _as_they_are(pictures, geometry)
    if direct is not None:
        return direct, {}
    images = torch.zeros(count, geometry.channels, size, size, dtype=torch.uint8)

    def fill(index: int) -> str | None:
        return _fill(images, pictures, index, transform)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _in_threads(fill, range(count), threads)
    return images, {index: why for index, why in enumerate(found) if why is not None}


def _fill(images: Tensor, pictures: Pictures, index: int, transform: Transform) -> str | None:
    try:
        images[index] = transform(pictures.read(index))
    except MemoryError:
        raise
    except Exception as error:
        return reason(error)
    return None


def _as_they_are(pictures: Pictures, geometry: Geometry) -> Tensor | None:
    """Return arrays that no transform would change, without going through PIL picture by picture."""
    size = geometry.img_size
    if not isinstance(pictures, ArrayPictures) or geometry.crop_pct != 1.0:
        return None
    if pictures.arrays.shape[1:3] != (size, size):
        return None
    arrays = pictures.arrays
    channels = arrays.shape[3] if arrays.ndim == 4 else 1
    if channels == geometry.channels:
        stacked = arrays[:, None] if arrays.ndim == 3 else arrays.transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(stacked))
    if channels == 1:
        return torch.from_numpy(arrays)[:, None].repeat(1, geometry.channels, 1, 1)
    return None


def _in_threads(function: Callable[[int], str | None], indices: Sequence[int], threads: int) -> list[str | None]:
    def chunk(begin: int) -> list[str | None]:
        return [function(index) for index in indices[begin : begin + _CHUNK]]

    begins = range(0, len(indices), _CHUNK)
    if threads <= 1:
        return _flat(map(chunk, begins))
    with ThreadPoolExecutor(threads) as pool:
        return _flat(pool.map(chunk, begins))


def _flat(chunks: Iterable[list[str | None]]) -> list[str | None]:
    return [entry for chunk in chunks for entry in chunk]


def reason(error: Exception) -> str:
    """Return why a picture is bad, in one line without addresses in memory."""
    text = " ".join(str(error).split()).split(" <_io.")[0].rstrip(".")
    return text[:200] or type(error).__name__
