"""A data set behind a door: opened, checked, split, and perhaps decoded into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from grng.data.bundle import Split
from grng.data.decoding import decode_all, find_bad
from grng.data.doors import ROLES, Role, split_name
from grng.data.pictures import Pictures, Source
from grng.data.pipeline import evaluation_transform
from grng.data.request import DataRequest, Geometry
from grng.data.splitting import stratified
from grng.errors import GrngError

IN_MEMORY_PIXELS = 64
IN_MEMORY_BYTES = 2**30
WHERE = "dataset.data_dir"
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class PictureSplit:
    """One part of a data set whose pictures are read when they are needed.

    Args:
        pictures: The pictures of this part and perhaps of others.
        indices: int64 [n], which of them.
        labels: int64 [n], in 0 … classes - 1.
    """

    pictures: Pictures
    indices: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class PictureData:
    """A data set behind a door.

    Args:
        name: As it was asked for.
        train: Pictures, or uint8 images [n, c, h, w] in memory.
        val: Likewise.
        test: Likewise.
        classes: Names by label.
        geometry: How pictures become images.
        skipped: Name of each bad picture, and why it is left out.
        notes: What the user should know, one sentence each.
        fingerprint: SHA-256 of names, classes and splits: other files, another fingerprint.
    """

    name: str
    train: Split | PictureSplit
    val: Split | PictureSplit
    test: Split | PictureSplit
    classes: tuple[str, ...]
    geometry: Geometry
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    fingerprint: str

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.geometry.channels

    @property
    def img_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.geometry.img_size

    @property
    def warnings(self) -> tuple[str, ...]:
        """The notes, and which pictures are left out."""
        if not self.skipped:
            return self.notes
        shown = "; ".join(f"{name}: {why}" for name, why in self.skipped[:_SHOWN])
        more = f"; and {len(self.skipped) - _SHOWN} more" if len(self.skipped) > _SHOWN else ""
        count = "1 picture" if len(self.skipped) == 1 else f"{len(self.skipped)} pictures"
        verb = "is" if len(self.skipped) == 1 else "are"
        return (*self.notes, f"{count} cannot be read and {verb} left out: {shown}{more}")


def open_source(request: DataRequest) -> Source:
    """Return what is behind the door, checked as far as that goes without decoding pictures.

    Raises:
        GrngError: If it cannot be had, or is nothing to train on.
    """
    door, rest = split_name(request.name)
    source = _open(door, rest, request)
    train = source.pools["train"]
    if not train.labels:
        raise GrngError(f"{request.name} has no training pictures.", where=WHERE)
    if len(source.classes) < 2:
        raise GrngError(
            f"{_place(request)} has only one class, {source.classes[0]!r}: there is nothing to tell apart.",
            where=WHERE,
            hint="Put the pictures of every class into a folder of its own: cat/1.jpg, dog/2.jpg, …"
            if door == "folder"
            else None,
        )
    return source


def describe(request: DataRequest) -> tuple[int, int]:
    """Return the numbers of training pictures and classes, as they are before any picture is decoded.

    With `strict` all are decoded, so that a bad one is an error here.

    Raises:
        GrngError: As `load_pictures`.
    """
    if request.strict:
        data = load_pictures(request)
        return len(data.train), data.num_classes
    source = open_source(request)
    parts = _cut(source, {role: range(len(pool.labels)) for role, pool in source.pools.items()}, request)
    return len(parts["train"][1]), len(source.classes)


def load_pictures(request: DataRequest) -> PictureData:
    """Return a data set behind a door.

    Bad pictures are found before the splits are cut and are in none of them: batches then have their full size, every
    run sees the same ones, and scores are over the same pictures, which finding them on the way would not give.

    Raises:
        GrngError: If it cannot be had, is nothing to train on, or has bad pictures and is asked to be strict.
    """
    source = open_source(request)
    resident = _is_resident(source, request)
    images: dict[Role, Tensor] = {}
    bad: dict[Role, dict[int, str]] = {role: {} for role in source.pools}
    for role, pool in source.pools.items():
        if resident:
            images[role], bad[role] = decode_all(pool, request.geometry, threads=request.threads)
        elif request.verify:
            bad[role] = find_bad(pool, request.geometry.mode, threads=request.threads)
    pools = source.pools
    skipped = tuple((pools[role].name(index), why) for role, found in bad.items() for index, why in found.items())
    if skipped and request.strict:
        shown = "; ".join(f"{name}: {why}" for name, why in skipped[:_SHOWN])
        raise GrngError(
            f"{len(skipped)} of the pictures cannot be read: {shown}{'; …' if len(skipped) > _SHOWN else ''}.",
            where=WHERE,
            hint="Mend or remove them, or leave --strict-data out.",
        )
    good = {
        role: [index for index in range(len(pool.labels)) if index not in bad[role]]
        for role, pool in source.pools.items()
    }
    _check_left(source, good)
    parts = _cut(source, good, request)
    splits = {role: _split(source.pools[pool], chosen, images.get(pool)) for role, (pool, chosen) in parts.items()}
    return PictureData(
        name=request.name,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        classes=source.classes,
        geometry=request.geometry,
        skipped=skipped,
        notes=source.notes,
        fingerprint=_fingerprint(source, parts),
    )


def _open(door: str, rest: str, request: DataRequest) -> Source:
    if door == "hfds":
        from grng.data.hf_sets import open_hf

        keys = {"input_key": request.input_key, "target_key": request.target_key}
        return open_hf(rest, request.data_dir, download=request.download, **keys)
    root = request.data_dir
    assert root is not None, "resolve checks that there is one"
    if door == "folder":
        from grng.data.folder import open_folder

        return open_folder(root, strict=request.strict)
    if door == "torch":
        from grng.data.torch_sets import open_torch

        return open_torch(rest, root, download=request.download)
    from grng.data.streams import open_stream

    transform = evaluation_transform(request.geometry)

    def to_array(image: Image.Image) -> NDArray[np.uint8]:
        kept = transform(image).permute(1, 2, 0).numpy()
        return kept[:, :, 0] if kept.shape[2] == 1 else kept

    return open_stream(
        request.name,
        root,
        to_array=to_array,
        download=request.download,
        unlimited=request.in_memory is True,
        input_key=request.input_key,
        target_key=request.target_key,
    )


def _place(request: DataRequest) -> str:
    return str(request.data_dir) if request.name == "folder" else request.name


def _is_resident(source: Source, request: DataRequest) -> bool:
    """Return whether all images are kept in memory."""
    if request.in_memory != "auto":
        return request.in_memory
    count = sum(len(pool.labels) for pool in source.pools.values())
    size = request.geometry.img_size
    small = size <= IN_MEMORY_PIXELS and count * request.geometry.channels * size**2 <= IN_MEMORY_BYTES
    return small and not request.per_picture


def _check_left(source: Source, good: Mapping[Role, Sequence[int]]) -> None:
    """Raise if bad pictures were all that a class or a split had."""
    labels = source.pools["train"].labels
    lost = set(labels) - {labels[index] for index in good["train"]}
    if lost:
        name = source.classes[min(lost)]
        raise GrngError(f"no training picture of {name!r} can be read.", where=WHERE, hint="Mend or remove them.")
    empty = next((role for role, indices in good.items() if not indices), None)
    if empty:
        raise GrngError(f"no picture of the split {empty} can be read.", where=WHERE, hint="Mend or remove them.")


Parts = dict[Role, tuple[Role, list[int]]]
"""For each split: from which pool it is, and which pictures of it."""


def _cut(source: Source, good: Mapping[Role, Sequence[int]], request: DataRequest) -> Parts:
    """Return the three splits, those that the source lacks cut from its training pictures."""
    shares: dict[Role, float] = {"val": request.val_fraction, "test": request.test_fraction}
    missing = {role: share for role, share in shares.items() if role not in source.pools}
    parts: Parts = {role: (role, sorted(good[role], key=source.pools[role].name)) for role in source.pools}
    if missing:
        train, chosen = source.pools["train"], parts["train"][1]
        names, labels = [train.name(index) for index in chosen], [train.labels[index] for index in chosen]
        shared = stratified(names, labels, missing, seed=request.split_seed)
        parts |= {role: ("train", [chosen[place] for place in places]) for role, places in shared.items()}
    return {role: parts[role] for role in ROLES}


def _split(pool: Pictures, chosen: list[int], images: Tensor | None) -> Split | PictureSplit:
    indices = torch.tensor(chosen, dtype=torch.int64)
    labels = torch.tensor([pool.labels[index] for index in chosen], dtype=torch.int64)
    if images is not None:
        return Split(images.index_select(0, indices), labels)
    return PictureSplit(pool, indices, labels)


def _fingerprint(source: Source, parts: Parts) -> str:
    digest = hashlib.sha256(repr(source.classes).encode("utf-8", "surrogatepass"))
    for role, (pool, chosen) in parts.items():
        pictures: Any = source.pools[pool]
        lines = (f"{role}\0{pictures.name(index)}\0{pictures.labels[index]}\n" for index in chosen)
        digest.update("".join(lines).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
