"""The doors to data sets that are not bundled: what names lead through them, without loading anything.

`folder` is pictures in one folder a class; `torch/NAME` torchvision's classification sets, by the table below;
`hfds/NAME` Hugging Face `datasets`, by name on the hub or by path; `tfds/NAME` TensorFlow Datasets and `wds/NAME`
WebDataset shards, both as timm reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from grng.errors import UnknownNameError, suggest

Role = Literal["train", "val", "test"]
ROLES: tuple[Role, ...] = ("train", "val", "test")

TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "dev", "eval", "evaluation")
TEST_NAMES = ("test", "testing")
SPLIT_NAMES: dict[Role, tuple[str, ...]] = {"train": TRAIN_NAMES, "val": VAL_NAMES, "test": TEST_NAMES}


@dataclass(frozen=True)
class TorchSet:
    """A data set of torchvision.

    Args:
        kind: The class in `torchvision.datasets`.
        splits: The arguments that ask for each split there is.
        size: Height and width in pixels to show it at; None: pictures of many sizes, shown at the model's.
        downloads: Whether torchvision can download it.
    """

    kind: str
    splits: Mapping[Role, Mapping[str, Any]] = field(default_factory=lambda: {"train": {}})
    size: int | None = None
    downloads: bool = True


def _flagged(kind: str) -> TorchSet:
    return TorchSet(kind, {"train": {"train": True}, "test": {"train": False}}, size=32)


def _split(
    kind: str, *, train: str = "train", val: str | None = None, test: str | None = "test", **rest: Any
) -> TorchSet:
    names: dict[Role, str | None] = {"train": train, "val": val, "test": test}
    return TorchSet(kind, {role: {"split": name} for role, name in names.items() if name}, **rest)


TORCH_SETS: dict[str, TorchSet] = {
    "cifar10": _flagged("CIFAR10"),
    "cifar100": _flagged("CIFAR100"),
    "mnist": _flagged("MNIST"),
    "kmnist": _flagged("KMNIST"),
    "fashion_mnist": _flagged("FashionMNIST"),
    "qmnist": _flagged("QMNIST"),
    "svhn": _split("SVHN", size=32),
    "stl10": _split("STL10", size=96),
    "food101": _split("Food101"),
    "oxford_iiit_pet": _split("OxfordIIITPet", train="trainval"),
    "flowers102": _split("Flowers102", val="val"),
    "dtd": _split("DTD", val="val"),
    "fgvc_aircraft": _split("FGVCAircraft", val="val"),
    "gtsrb": _split("GTSRB"),
    "stanford_cars": _split("StanfordCars", downloads=False),
    "country211": _split("Country211", val="valid"),
    "pcam": _split("PCAM", val="val", size=96),
    "rendered_sst2": _split("RenderedSST2", val="val"),
    "imagenette": _split("Imagenette", val="val", test=None),
    "imagenet": _split("ImageNet", val="val", test=None, downloads=False),
    "places365": _split("Places365", train="train-standard", val="val", test=None),
    "inaturalist": TorchSet("INaturalist", {"train": {"version": "2021_train"}, "val": {"version": "2021_valid"}}),
    "eurosat": TorchSet("EuroSAT", size=64),
    "caltech101": TorchSet("Caltech101"),
    "caltech256": TorchSet("Caltech256"),
    "sun397": TorchSet("SUN397"),
}


@dataclass(frozen=True)
class Door:
    """One way to data sets that are not bundled.

    Args:
        name: What the user types, with the part that varies in capitals.
        summary: One sentence.
        needs: What else must be given or installed.
    """

    name: str
    summary: str
    needs: str


_DOORS = (
    Door("folder", "pictures in one folder a class, or in such folders below train/, val/ and test/", "--data-dir"),
    Door("torch/NAME", f"torchvision's classification sets: {', '.join(TORCH_SETS)}", "--data-dir; --download"),
    Door("hfds/NAME", "Hugging Face datasets: a name on the hub, or a path", "pip install 'grng[hf]'; --download"),
    Door("tfds/NAME", "TensorFlow Datasets, as timm reads them", "pip install tensorflow-datasets; --data-dir"),
    Door("wds/NAME", "WebDataset shards with an _info.json, as timm reads them", "pip install 'grng[wds]'; --data-dir"),
)
FOLDER = "folder"
PREFIXES = ("torch", "hfds", "tfds", "wds")


def list_doors() -> list[Door]:
    """Return the doors, in the order to show them."""
    return list(_DOORS)


def is_door(name: str) -> bool:
    """Return whether `name` leads to files rather than to a built-in set."""
    return name == FOLDER or name.partition("/")[0].casefold() in PREFIXES


def door_names() -> list[str]:
    """Return all names that are known in full: `folder` and those of torchvision."""
    return [FOLDER, *(f"torch/{name}" for name in TORCH_SETS)]


def split_name(name: str) -> tuple[str, str]:
    """Return the door and what is behind it: `("torch", "cifar10")`; the door in lower case, as timm takes it."""
    door, _, rest = name.partition("/")
    door = door.casefold()
    return door, rest.casefold() if door == "torch" else rest


def check_door_name(name: str) -> None:
    """Raise `UnknownNameError` unless something can be behind `name`, of which `is_door` is true."""
    door, rest = split_name(name)
    if door == FOLDER:
        return
    if not rest:
        raise UnknownNameError(f"the data set {name!r} says nothing after the slash.", hint=f"Write {door}/NAME.")
    if door == "torch" and rest not in TORCH_SETS:
        known = f"Known: {', '.join(TORCH_SETS)}."
        near = suggest(rest, TORCH_SETS, otherwise=known)
        raise UnknownNameError(f"torchvision has no data set {rest!r} that grng knows.", hint=near)


def canonical(name: str) -> str:
    """Return a door's name as it is written down: `TORCH/CIFAR10` is `torch/cifar10`."""
    door, rest = split_name(name)
    return f"{door}/{rest}" if rest else door


def own_size(name: str) -> int | None:
    """Return the height and width that a data set is shown at unless the user says; None: the model's."""
    door, rest = split_name(name)
    return TORCH_SETS[rest].size if door == "torch" else None
