"""The settings of data sets that are read from files: which of them must be given, and what the others become."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from grng.data.doors import FOLDER, canonical, own_size, split_name
from grng.errors import GrngError
from grng.runs.config import RunConfig, replace
from grng.runs.schema import Key, absolute
from grng.runs.sections import AugmentConfig, DatasetConfig

if TYPE_CHECKING:
    from grng.data.pipeline import PictureAugment
    from grng.data.request import DataRequest, Geometry

Problems = list[tuple[Key, GrngError]]

_FRACTION = 0.1
_DOWNLOADS = ("torch", "hfds", "tfds")
_KEYED = ("hfds", "wds", "tfds")


def check_built_in(dataset: DatasetConfig, augment: AugmentConfig) -> Problems:
    """Return what is given that a built-in set has no use for."""
    problems: Problems = []
    for name, field in DatasetConfig.model_fields.items():
        if name in ("name", "img_size") or getattr(dataset, name) == field.default:
            continue
        problem = GrngError(
            f"{dataset.name} is built in and takes no {name}.",
            hint="Leave it out, or give a data set of files: --dataset folder, torch/cifar10, …",
        )
        problems.append((("dataset", name), problem))
    for name in _per_picture(augment):
        text = f"{name} works on picture files; {dataset.name} is built in."
        problems.append((("augment", name), GrngError(text, hint="It can have flip, crop=pad and random_erasing.")))
    return problems


def resolve_pictures(dataset: DatasetConfig, augment: AugmentConfig, model: str) -> tuple[DatasetConfig, Problems]:
    """Return the settings of a data set of files with everything filled in that is not on the disk, and problems.

    Args:
        dataset: What the user gave; its name leads through a door.
        augment: Likewise.
        model: Whose data settings of timm are the defaults.
    """
    from grng.data.pipeline import adapt_channels, model_data_config

    problems = [*_check_place(dataset), *_check_keys(dataset)]
    settings = model_data_config(model)
    channels = dataset.channels or 3
    size = own_size(dataset.name)
    interpolation = settings["interpolation"]
    filled: dict[str, Any] = {
        "name": canonical(dataset.name),
        "img_size": dataset.img_size or size or min(settings["input_size"][-2:]),
        "data_dir": None if dataset.data_dir is None else absolute(dataset.data_dir),
        "val_fraction": _FRACTION if dataset.val_fraction is None else dataset.val_fraction,
        "test_fraction": _FRACTION if dataset.test_fraction is None else dataset.test_fraction,
        "split_seed": dataset.split_seed or 0,
        "channels": channels,
        "interpolation": dataset.interpolation or (interpolation if interpolation in _INTERPOLATIONS else "bicubic"),
        # Small pictures of one size are shown whole: what the edges hold is part of the digit.
        "crop_pct": dataset.crop_pct or (1.0 if size else settings["crop_pct"]),
        "crop_mode": dataset.crop_mode or settings["crop_mode"],
    }
    for name in ("mean", "std"):
        given = getattr(dataset, name)
        filled[name] = list(adapt_channels(tuple(settings[name]), channels)) if given is None else given
        if len(filled[name]) != channels:
            text = f"must have one value a channel: {channels}, not {len(filled[name])}."
            problems.append((("dataset", name), GrngError(text)))
    if min(filled["std"]) <= 0:
        problems.append((("dataset", "std"), GrngError("must be positive.")))
    if filled["val_fraction"] + filled["test_fraction"] >= 1:
        text = "val_fraction and test_fraction together leave nothing to train on."
        problems.append((("dataset", "val_fraction"), GrngError(text)))
    resolved = replace(dataset, **filled)
    problems += _check_augment(resolved, augment)
    return resolved, problems


def _check_place(dataset: DatasetConfig) -> Problems:
    door, _ = split_name(dataset.name)
    problems: Problems = []
    if dataset.data_dir is None and door != "hfds":
        what = "the folder of the pictures" if door == FOLDER else "where its files are"
        problem = GrngError(f"{dataset.name} needs to be told {what}.", hint="Give --data-dir DIR.")
        problems.append((("dataset", "data_dir"), problem))
    if dataset.download and door not in _DOWNLOADS:
        problem = GrngError(f"{dataset.name} cannot be downloaded.", hint="Leave --download out.")
        problems.append((("dataset", "download"), problem))
    return problems


def _check_keys(dataset: DatasetConfig) -> Problems:
    door, _ = split_name(dataset.name)
    given = [name for name in ("input_key", "target_key") if getattr(dataset, name) is not None]
    if door in _KEYED:
        return []
    hint = f"It is for {', '.join(_KEYED)}."
    return [(("dataset", name), GrngError(f"{dataset.name} takes no {name}.", hint=hint)) for name in given]


def _check_augment(dataset: DatasetConfig, augment: AugmentConfig) -> Problems:
    from grng.data.pipeline import training_transform

    problems: Problems = []
    for name in ("scale", "ratio"):
        low, high = getattr(augment, name)
        if low > high:
            text = f"the least must not be above the largest, not {low:g}, {high:g}."
            problems.append((("augment", name), GrngError(text)))
    if augment.scale[1] > 1:
        problems.append((("augment", "scale"), GrngError("is a share of the picture, at most 1.")))
    named = list(_per_picture(augment))
    if named and dataset.in_memory is True and split_name(dataset.name)[0] not in ("wds", "tfds"):
        problem = GrngError(
            f"pictures that are kept in memory cannot have {named[0]}.",
            hint="Leave in_memory out; flip, crop=pad and random_erasing go with it.",
        )
        problems.append((("dataset", "in_memory"), problem))
    if not problems:
        try:
            training_transform(geometry_of(dataset), picture_augment(augment))
        except GrngError as error:
            problems.append((tuple((error.where or "augment").split(".")), error))
    return problems


def _per_picture(augment: AugmentConfig) -> Iterator[str]:
    """Yield the keys given that need the picture itself."""
    if augment.crop == "resized":
        yield "crop"
    if augment.auto_augment:
        yield "auto_augment"
    if augment.color_jitter:
        yield "color_jitter"


def picture_augment(augment: AugmentConfig) -> PictureAugment:
    """Return what is done to single pictures."""
    from grng.data.pipeline import PictureAugment

    (low, high), (narrow, wide) = augment.scale, augment.ratio
    return PictureAugment(
        resized=((low, high), (narrow, wide)) if augment.crop == "resized" else None,
        auto_augment=augment.auto_augment,
        color_jitter=augment.color_jitter,
    )


def geometry_of(dataset: DatasetConfig) -> Geometry:
    """Return how pictures become images, of resolved settings."""
    from grng.data.request import Geometry

    assert dataset.img_size, "resolved"
    assert dataset.channels, "resolved"
    assert dataset.mean, "resolved"
    assert dataset.std, "resolved"
    return Geometry(
        img_size=dataset.img_size,
        channels=dataset.channels,
        interpolation=dataset.interpolation or "bicubic",
        crop_pct=dataset.crop_pct or 1.0,
        crop_mode=dataset.crop_mode or "center",
        mean=tuple(dataset.mean),
        std=tuple(dataset.std),
    )


def data_request(config: RunConfig, *, threads: int = 1) -> DataRequest:
    """Return what a resolved config asks of its data set, which is behind a door.

    Args:
        config: Resolved.
        threads: How many pictures may be decoded at once while loading.
    """
    from grng.data.request import DataRequest

    dataset = config.dataset
    return DataRequest(
        name=dataset.name,
        data_dir=dataset.data_dir,
        geometry=geometry_of(dataset),
        val_fraction=dataset.val_fraction or _FRACTION,
        test_fraction=dataset.test_fraction or _FRACTION,
        split_seed=dataset.split_seed or 0,
        strict=dataset.strict,
        download=dataset.download,
        verify=config.machine.verify_data or dataset.strict,
        in_memory=dataset.in_memory,
        per_picture=picture_augment(config.augment).active,
        input_key=dataset.input_key,
        target_key=dataset.target_key,
        threads=threads,
    )


_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
