"""WebDataset shards and TensorFlow Datasets, as timm reads them: in a row, so they are read once, into memory.

Such data has no n-th picture, and training asks for the n-th: only so do runs see the same batches, and go on within an
epoch. What is kept is each picture as it enters the model, before augmentation, so that the size is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grng.data.doors import ROLES, SPLIT_NAMES, Role
from grng.data.pictures import ArrayPictures, Pictures, Source
from grng.errors import GrngError

_PACKAGES = {
    "wds": ("webdataset", "pip install 'grng[wds]'"),
    "tfds": ("tensorflow_datasets", "pip install tensorflow-datasets tensorflow"),
}
LIMIT_BYTES = 2**30


def open_stream(
    name: str,
    root: Path,
    *,
    to_array: Callable[[Image.Image], NDArray[np.uint8]],
    download: bool,
    unlimited: bool,
    input_key: str | None,
    target_key: str | None,
) -> Source:
    """Return the pictures of `wds/…` or `tfds/…`.

    Args:
        name: As timm's `create_dataset` takes it.
        root: Where its files are.
        to_array: What is kept of a picture, [h, w] or [h, w, 3].
        download: Whether timm may download it (tfds).
        unlimited: Whether it may take more than 1 GiB.
        input_key: timm's, None: its default.
        target_key: Likewise.

    Raises:
        GrngError: If the package or the data are missing, or they are too large.
    """
    import importlib.util

    package, install = _PACKAGES[name.partition("/")[0]]
    if importlib.util.find_spec(package) is None:
        raise GrngError(f"{name} needs the package {package}.", where="dataset.name", hint=f"Install it: {install}.")
    pools: dict[Role, Pictures] = {}
    left = LIMIT_BYTES if not unlimited else None
    for role in ROLES:
        opened = _open(name, root, role, download=download, input_key=input_key, target_key=target_key)
        if opened is None:
            continue
        arrays, labels = _read(opened, to_array, left, name)
        pools[role] = ArrayPictures(arrays, labels, role)
        left = None if left is None else left - arrays.nbytes
    if "train" not in pools:
        raise GrngError(f"{name} in {root} has no training split that timm finds.", where="dataset.data_dir")
    number = 1 + max(max(pool.labels, default=0) for pool in pools.values())
    return Source(tuple(map(str, range(number))), pools)


def _open(name: str, root: Path, role: Role, *, download: bool, **keys: str | None) -> Any:
    """Return timm's data set for a split, under any of the names that it may have; None if there is none."""
    import timm.data

    create: Any = timm.data.create_dataset
    failure: Exception | None = None
    for split in SPLIT_NAMES[role]:
        try:
            given = {key: value for key, value in keys.items() if value is not None}
            return create(name, root=str(root), split=split, is_training=False, download=download, **given)
        except Exception as error:
            failure = failure or error
    if role == "train":
        text = (" ".join(str(failure).split()) or type(failure).__name__).rstrip(".")
        raise GrngError(f"{name} cannot be read from {root}: {text[:300]}.", where="dataset.data_dir") from failure
    return None


def _read(
    data: Any, to_array: Callable[[Image.Image], NDArray[np.uint8]], limit: int | None, name: str
) -> tuple[NDArray[np.uint8], list[int]]:
    arrays: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    size = 0
    for image, label in _iterate(data):
        array = to_array(image)
        arrays.append(array)
        labels.append(int(label))
        size += array.nbytes
        if limit is not None and size > limit:
            raise GrngError(
                f"{name} takes more than {LIMIT_BYTES >> 20} MiB at this size, and it can only be kept in memory.",
                where="dataset.in_memory",
                hint="If the memory is there, give --set dataset.in_memory=true; else a smaller --img-size.",
            )
    if not arrays:
        raise GrngError(f"{name} has a split without pictures.", where="dataset.data_dir")
    return np.stack(arrays), labels


def _iterate(data: Any) -> Iterator[tuple[Image.Image, Any]]:
    if hasattr(data, "set_loader_cfg"):
        data.set_loader_cfg(num_workers=0)
    yield from data
