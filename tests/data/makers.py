"""Small data sets in the formats in which the real ones lie on the disk."""

from __future__ import annotations

import json
import pickle
import struct
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from grng.data.request import DataRequest, Geometry

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 60), "red": (210, 40, 30)}


def pixels(colour: Sequence[int], number: int, *, size: tuple[int, int] = (24, 32)) -> NDArray[np.uint8]:
    """Return a picture [h, w, 3] of a colour with noise, another one for each number."""
    generator = np.random.default_rng([*colour, number])
    return (np.array(colour) + generator.integers(-20, 20, (*size, 3))).clip(0, 255).astype(np.uint8)


def image_folder(
    root: Path, counts: Mapping[str, int], *, suffix: str = ".png", size: tuple[int, int] = (24, 32), first: int = 0
) -> Path:
    """Write `counts[name]` pictures into a folder for each class; return `root`."""
    for name, count in counts.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        colour = COLOURS.get(name, (len(name) * 30 % 256, 90, 120))
        for number in range(first, first + count):
            Image.fromarray(pixels(colour, number, size=size)).save(folder / f"{number:03d}{suffix}")
    return root


def spoil(path: Path, how: str) -> None:
    """Make a picture bad."""
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"not a picture\n"}[how])


def cifar(root: Path, monkeypatch: pytest.MonkeyPatch, *, train: int = 50, test: int = 20, classes: int = 10) -> Path:
    """Write CIFAR-10's (or, with 100 classes, CIFAR-100's) pickles; torchvision's checksums are told theirs."""
    import torchvision.datasets

    kind: Any = torchvision.datasets.CIFAR10 if classes == 10 else torchvision.datasets.CIFAR100
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    key = "labels" if classes == 10 else "fine_labels"
    files = [name for name, _ in kind.train_list]
    for names, count, seed in ((files, train, 0), ([kind.test_list[0][0]], test, 1)):
        for number, name in enumerate(names):
            generator = np.random.default_rng([seed, number])
            share = count // len(names)
            labels = [(number * share + index) % classes for index in range(share)]
            data = generator.integers(0, 256, (share, 3072), dtype=np.uint8)
            (folder / name).write_bytes(pickle.dumps({"data": data, key: labels}))
    names = [f"class{number}" for number in range(classes)]
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: names}))
    monkeypatch.setattr(kind, "train_list", [[name, None] for name in files])
    monkeypatch.setattr(kind, "test_list", [[kind.test_list[0][0], None]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": None})
    return root


def mnist(root: Path, *, train: int = 40, test: int = 20) -> Path:
    """Write MNIST's idx files."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        generator = np.random.default_rng(count)
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes())
    return root


def food(root: Path, *, per_class: int = 4) -> Path:
    """Write Food-101's folders with three classes."""
    base = root / "food-101"
    (base / "meta").mkdir(parents=True)
    for split, first in (("train", 0), ("test", per_class)):
        image_folder(base / "images", dict.fromkeys(COLOURS, per_class), suffix=".jpg", first=first)
        listed = {name: [f"{name}/{number:03d}" for number in range(first, first + per_class)] for name in COLOURS}
        (base / "meta" / f"{split}.json").write_text(json.dumps(listed))
    return root


def shards(root: Path, counts: Mapping[str, int]) -> Path:
    """Write a WebDataset with one shard a split."""
    root.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, count in counts.items():
        name = f"{split}-0.tar"
        with tarfile.open(root / name, "w") as archive:
            for number in range(count):
                label = number % 3
                stream = BytesIO()
                Image.fromarray(pixels(list(COLOURS.values())[label], number)).save(stream, "PNG")
                for suffix, data in (("png", stream.getvalue()), ("cls", str(label).encode())):
                    entry = tarfile.TarInfo(f"{number:05d}.{suffix}")
                    entry.size = len(data)
                    archive.addfile(entry, BytesIO(data))
        splits[split] = {"name": split, "filenames": [name], "shard_lengths": [count], "num_samples": count}
    (root / "_info.json").write_text(json.dumps({"splits": splits}))
    return root


def geometry(**changes: Any) -> Geometry:
    values: dict[str, Any] = {
        "img_size": 16,
        "channels": 3,
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.25, 0.3),
    }
    return Geometry(**{**values, **changes})


def request(name: str, data_dir: Path | None, **changes: Any) -> DataRequest:
    """Return a request with defaults that suit the pictures here."""
    shape = geometry(**{key: changes.pop(key) for key in list(changes) if key in Geometry.__dataclass_fields__})
    return DataRequest(name=name, data_dir=data_dir, geometry=shape, **changes)
