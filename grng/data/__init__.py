"""Built-in data sets, bundled with the package: no download, no worker processes, tensors in memory.

Importing this package loads no torch; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grng.data.registry import DatasetInfo, check_dataset_name, dataset_info, list_datasets

if TYPE_CHECKING:
    from grng.data.bundle import DataBundle, Split

__all__ = [
    "DataBundle",
    "DatasetInfo",
    "Split",
    "check_dataset_name",
    "dataset_info",
    "list_datasets",
    "load",
]


def load(name: str, *, img_size: int | None = None) -> DataBundle:
    """Return the data set `name` as normalised tensors.

    Args:
        name: A name of `list_datasets`.
        img_size: Height and width in pixels; None: the data set's own default.

    Raises:
        UnknownNameError: If there is no data set of this name.
        GrngError: If `img_size` is out of range, or the bundled file is damaged.
    """
    from grng.data.builtin import load_builtin

    return load_builtin(dataset_info(name), img_size=img_size)


def __getattr__(name: str) -> type:
    if name in ("DataBundle", "Split"):
        from grng.data import bundle

        return {"DataBundle": bundle.DataBundle, "Split": bundle.Split}[name]
    raise AttributeError(f"module 'grng.data' has no attribute {name!r}")
