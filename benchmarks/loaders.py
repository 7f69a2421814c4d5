"""Images per second of the ways to read a data set, side by side in one process.

Pictures are made in a temporary folder and read as training reads them: by the whole path in memory (uint8 on the
device, changed in whole batches), by the loader that seeds every picture, and by timm's `create_loader` with the same
augmentation. Rounds take turns, so that a drift of the machine falls on all alike; the first round of each, which
starts its processes, does not count.

    python benchmarks/loaders.py
    python benchmarks/loaders.py --count 2000 --sizes 32 224 --workers 0 1 --rounds 5
    python benchmarks/loaders.py --device cuda --markdown docs/results/loaders.md
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader

from grng import __version__
from grng.data.pipeline import model_data_config
from grng.runs.config import RunConfig, resolve
from grng.training.feed import load_data, open_feed
from grng.training.order import BatchOrder

AUGMENTS: dict[str, dict[str, Any]] = {
    "none": {},
    "flip, erasing": {"flip": 0.5, "random_erasing": 0.25},
    # magnitude 6: from 10 on, which 9 with its spread reaches, timm's own loader asks of PIL what that refuses
    "resized crop, RandAugment": {"flip": 0.5, "crop": "resized", "auto_augment": "rand-m6-mstd0.5-inc1"},
}
Batches = Iterator[Any]


def make_pictures(root: Path, count: int, size: int) -> None:
    """Write `count` JPEG files in two classes, a third larger than they will be shown."""
    generator = np.random.default_rng(0)
    side = size * 4 // 3
    for number in range(count):
        folder = root / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side)).save(folder / f"{number:06d}.jpg", quality=90)


def ours(
    root: Path, arguments: argparse.Namespace, size: int, workers: int, augment: dict[str, Any], *, in_memory: bool
) -> tuple[Batches, Callable[[], None]]:
    """Return our feed's batches without end, and what ends it."""
    config = resolve(
        RunConfig.model_validate(
            {
                "model": arguments.model,
                "dataset": {"name": "folder", "data_dir": str(root), "img_size": size, "in_memory": in_memory},
                "training": {"batch_size": arguments.batch},
                "augment": augment,
                "machine": {"device": str(arguments.device), "data_workers": workers},
            }
        )
    )
    loaded = load_data(config)
    order = BatchOrder(len(loaded.train), arguments.batch, seed=0)
    steps = 10**6
    feed = open_feed(config, loaded, order, arguments.device, steps=steps)
    return (feed.batch(step) for step in range(steps)), feed.close


def timms(root: Path, arguments: argparse.Namespace, size: int, workers: int, augment: dict[str, Any]) -> Batches:
    """Yield the batches of timm's loader, epoch after epoch."""
    resized = augment.get("crop") == "resized"
    create: Any = create_loader
    made = create(
        create_dataset("folder", root=str(root)),
        (3, size, size),
        arguments.batch,
        is_training=True,
        no_aug=not augment,
        scale=None if resized else (1.0, 1.0),
        ratio=None if resized else (1.0, 1.0),
        hflip=augment.get("flip", 0.0),
        color_jitter=None,
        auto_augment=augment.get("auto_augment"),
        re_prob=augment.get("random_erasing", 0.0),
        interpolation=model_data_config(arguments.model)["interpolation"],
        num_workers=workers,
        device=arguments.device,
        pin_memory=arguments.device.type == "cuda",
        persistent_workers=workers > 0,
    )
    while True:
        yield from made


def images_per_second(batches: Batches, count: int, device: torch.device) -> float:
    """Take batches of at least `count` images in all and return how many a second."""
    taken, started = 0, time.perf_counter()
    while taken < count:
        taken += len(next(batches)[0])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return taken / (time.perf_counter() - started)


def race(ways: dict[str, Batches], arguments: argparse.Namespace) -> dict[str, float]:
    """Return each way's median images per second over the rounds."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.rounds + 1):
        for name, batches in ways.items():
            found = images_per_second(batches, arguments.images, arguments.device)
            if number:
                speeds[name].append(found)
    return {name: statistics.median(found) for name, found in speeds.items()}


def rows_of(root: Path, arguments: argparse.Namespace, size: int) -> list[list[str]]:
    """Return the table's rows for one image size."""
    rows = []
    for title, augment in AUGMENTS.items():
        for workers in arguments.workers:
            with ExitStack() as closing:
                ways: dict[str, Batches] = {}
                if size <= 64 and "auto_augment" not in augment:
                    ways["in memory"], close = ours(root, arguments, size, workers, augment, in_memory=True)
                    closing.callback(close)
                ways["loader"], close = ours(root, arguments, size, workers, augment, in_memory=False)
                closing.callback(close)
                ways["timm's create_loader"] = timms(root, arguments, size, workers, augment)
                speeds = race(ways, arguments)
                cells = [f"{speeds[name]:,.0f}" if name in speeds else "-" for name in HEADS]
                rows.append([f"{size} px", title, str(workers), *cells])
                print("\t".join(rows[-1]))
    return rows


HEADS = ("in memory", "loader", "timm's create_loader")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--count", type=int, default=1000, help="pictures in the folder")
    parser.add_argument("--images", type=int, default=1000, help="images that a round takes, at least")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--model", default="resnet18", help="whose data settings are used")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="loaders-") as place:
            make_pictures(Path(place), arguments.count, size)
            rows += rows_of(Path(place), arguments, size)
    head = ["size", "augmentation", "processes", *HEADS]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    lines += [
        "",
        f"Images per second, medians of {arguments.rounds} rounds of {arguments.images} images.",
        f"Batches of {arguments.batch} on {arguments.device}, {platform.machine()}, torch {torch.__version__},",
        f"timm {timm.__version__}, grng {__version__}.",
        "",
        "*in memory*: images decoded once, kept as bytes on the device and changed there in whole batches. *loader*:",
        "our pictures one by one, each with random numbers of its own, so that neither workers nor a resume change",
        "them.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        title = "# Images per second\n\nMade by `python benchmarks/loaders.py`, which says what is measured.\n\n"
        arguments.markdown.write_text(title + text, encoding="utf-8")


if __name__ == "__main__":
    main()
