"""From a bundled file to normalised tensors: check the checksum, split, pad, resize, normalise."""

from __future__ import annotations

import hashlib
import io
import json
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from grng.data.bundle import DataBundle, Split
from grng.data.registry import DatasetInfo
from grng.errors import GrngError

PROVENANCE = "provenance.json"


def read_verified(name: str) -> bytes:
    """Return the bytes of the bundled file `name`.

    Raises:
        GrngError: If it is missing, or its SHA-256 is not the one recorded.
    """
    folder = files("grng.data") / "files"
    reinstall = "Reinstall grng: `pip install --force-reinstall --no-deps grng`."
    try:
        data = (folder / name).read_bytes()
        expected = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["files"][name]["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise GrngError("the bundled data cannot be read.", where=str(folder / name), hint=reinstall) from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise GrngError(
            f"the bundled data is damaged: its SHA-256 is {found}, not {expected}.",
            where=str(folder / name),
            hint=reinstall,
        )
    return data


def load_builtin(info: DatasetInfo, *, img_size: int | None = None) -> DataBundle:
    """Return the bundled data set that `info` describes; see `grng.data.load`."""
    size = info.img_size if img_size is None else img_size
    info.check_img_size(size)
    with np.load(io.BytesIO(read_verified(f"{info.name}.npz")), allow_pickle=False) as arrays:
        images = torch.from_numpy(arrays["images"]).float().unsqueeze(1) / info.max_value
        labels = torch.from_numpy(arrays["labels"].astype(np.int64))
        indices: dict[str, NDArray[np.int64]] = {
            part: arrays[f"{part}_index"].astype(np.int64) for part in ("train", "val", "test")
        }
    images = _resize(images, info, size)
    # numpy's sums do not depend on the number of threads, torch's do: the same pixels on every machine.
    train = images[indices["train"]].double().numpy()
    mean, std = train.mean(axis=(0, 2, 3)), train.std(axis=(0, 2, 3))
    images = (images - torch.from_numpy(mean).float().view(-1, 1, 1)) / torch.from_numpy(std).float().view(-1, 1, 1)

    def split(part: str) -> Split:
        return Split(images[indices[part]].contiguous(), labels[indices[part]].contiguous())

    return DataBundle(
        name=info.name,
        train=split("train"),
        val=split("val"),
        test=split("test"),
        num_classes=info.num_classes,
        channels=info.channels,
        img_size=size,
        target=info.target,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        description=info.summary,
    )


def _resize(images: Tensor, info: DatasetInfo, size: int) -> Tensor:
    """Return `images` [n, c, native, native] as [n, c, size, size].

    The published size is given as published; every other size is interpolated from the padded image.
    """
    if size == info.native_size:
        return images
    margin = (info.padded_size - info.native_size) // 2
    padded = functional.pad(images, (margin, margin, margin, margin))
    if size == info.padded_size:
        return padded
    return functional.interpolate(padded, size=(size, size), mode="bilinear", antialias=True)
