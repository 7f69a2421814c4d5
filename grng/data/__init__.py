"""Data sets: built-in ones, bundled or computed, tensors in memory, and doors to those that are read from files.

Importing this package loads no torch; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grng.data.doors import Door, is_door, list_doors
from grng.data.registry import DatasetInfo, check_dataset_name, dataset_info, list_datasets

if TYPE_CHECKING:
    from grng.data.bundle import DataBundle, Split
    from grng.data.opening import PictureData
    from grng.data.request import DataRequest

__all__ = [
    "DataBundle",
    "DatasetInfo",
    "Door",
    "Split",
    "check_dataset_name",
    "dataset_info",
    "is_door",
    "list_datasets",
    "list_doors",
    "load",
    "load_pictures",
]


def load(name: str, *, img_size: int | None = None) -> DataBundle:
    """Return the built-in data set `name` as normalised tensors.

    Args:
        name: A name of `list_datasets`.
        img_size: Height and width in pixels; None: the data set's own default.

    Raises:
        UnknownNameError: If there is no data set of this name.
        GrngError: If `img_size` is out of range, or the bundled file is damaged.
    """
    from grng.data.builtin import load_builtin
    from grng.data.sphere import load_sphere

    info = dataset_info(name)
    return (load_sphere if info.made else load_builtin)(info, img_size=img_size)


def load_pictures(request: DataRequest) -> PictureData:
    """Return a data set that is read from files; see `grng.data.opening.load_pictures`."""
    from grng.data.opening import load_pictures as load_requested

    return load_requested(request)


def __getattr__(name: str) -> type:
    if name in ("DataBundle", "Split"):
        from grng.data import bundle

        return {"DataBundle": bundle.DataBundle, "Split": bundle.Split}[name]
    raise AttributeError(f"module 'grng.data' has no attribute {name!r}")
