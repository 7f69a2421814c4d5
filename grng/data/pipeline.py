"""From a picture to an image of the model's size: timm's transforms, with timm's settings of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from grng.data.pictures import to_mode
from grng.data.request import Geometry
from grng.errors import GrngError


@dataclass(frozen=True)
class PictureAugment:
    """Random changes of a picture before it is a tensor; all by timm's transforms.

    Args:
        resized: Scale and ratio of a random resized crop; None: the whole picture as in evaluation.
        auto_augment: timm's configuration string, or None.
        color_jitter: Largest relative change, 0 for none.
    """

    resized: tuple[tuple[float, float], tuple[float, float]] | None = None
    auto_augment: str | None = None
    color_jitter: float = 0.0

    @property
    def active(self) -> bool:
        """Whether anything is done."""
        return bool(self.resized or self.auto_augment or self.color_jitter)


@dataclass(frozen=True)
class Transform:
    """A picture of any kind becomes uint8 [c, img_size, img_size]; picklable.

    Args:
        mode: PIL's mode to convert to.
        steps: Transforms of a PIL picture, the last of which makes the tensor.
    """

    mode: str
    steps: tuple[Callable[[Any], Any], ...]

    def __call__(self, picture: Image.Image) -> Tensor:
        """Return the image."""
        image: Any = to_mode(picture, self.mode)
        for step in self.steps:
            image = step(image)
        assert isinstance(image, Tensor)
        return image


def model_data_config(model: str) -> dict[str, Any]:
    """Return timm's data settings of a model by name: input_size, interpolation, crop_pct, crop_mode, mean, std.

    They are those of `timm.data.resolve_model_data_config`, had without building the model; a model that timm has no
    settings of gets its defaults.
    """
    import timm.data

    resolve_data_config: Any = timm.data.resolve_data_config
    try:
        known: Any = timm.get_pretrained_cfg(model)
    except RuntimeError:
        known = None
    settings: dict[str, Any] = resolve_data_config({}, pretrained_cfg=known.to_dict() if known else {"num_classes": 1})
    return settings


def adapt_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return one value a channel; where the numbers of channels differ the mean of all, as timm does."""
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def evaluation_transform(geometry: Geometry) -> Transform:
    """Return timm's resize and centre crop."""
    from timm.data import create_transform

    made = create_transform(
        (geometry.channels, geometry.img_size, geometry.img_size),
        is_training=False,
        interpolation=geometry.interpolation,
        mean=geometry.mean,
        crop_pct=geometry.crop_pct,
        crop_mode=geometry.crop_mode,
        normalize=False,
    )
    return Transform(geometry.mode, tuple(made.transforms))


def training_transform(geometry: Geometry, how: PictureAugment) -> Transform:
    """Return the same, or timm's random changes instead.

    Raises:
        GrngError: If timm does not understand `auto_augment`; `where` is its key.
    """
    plain = evaluation_transform(geometry)
    if not how.active:
        return plain
    from timm.data import create_transform

    if how.auto_augment and geometry.channels == 1:
        text = "auto_augment is for pictures with 3 channels."
        raise GrngError(text, where="augment.auto_augment", hint="Set dataset.channels=3.")
    scale, ratio = how.resized or (None, None)
    jitter: Any = how.color_jitter or None
    try:
        cut, change, tensor = create_transform(
            (geometry.channels, geometry.img_size, geometry.img_size),
            is_training=True,
            scale=scale,
            ratio=ratio,
            hflip=0.0,
            color_jitter=jitter,
            auto_augment=how.auto_augment,
            interpolation=geometry.interpolation,
            mean=geometry.mean,
            normalize=False,
            separate=True,
        )
    except (AssertionError, KeyError, ValueError, IndexError) as error:
        raise GrngError(
            f"timm cannot take auto_augment {how.auto_augment!r}: {_reason(error)}.",
            where="augment.auto_augment",
            hint="Write it like rand-m9-mstd0.5-inc1, augmix-m3-w3, original or v0.",
        ) from error
    for step in change.transforms:
        _mend_posterize(step)
    first = tuple(cut.transforms) if how.resized else plain.steps[:-1]
    return Transform(geometry.mode, (*first, *change.transforms, *tensor.transforms))


def _mend_posterize(step: Any) -> None:
    """Let timm's posterizing keep 0 bits, for which it draws magnitudes and which newer versions of PIL refuse."""
    from timm.data import auto_augment

    for entry in [*getattr(step, "ops", ()), *getattr(step, "policy", ())]:
        for operation in entry if isinstance(entry, list | tuple) else [entry]:
            if operation.aug_fn is auto_augment.posterize:
                operation.aug_fn = _posterize


def _posterize(image: Image.Image, bits_to_keep: int, **rest: Any) -> Image.Image:
    """Return timm's posterized picture; black without a bit, as PIL used to return it."""
    from timm.data import auto_augment

    plain: Any = auto_augment.posterize
    posterized: Image.Image = plain(image, bits_to_keep, **rest) if bits_to_keep > 0 else image.point(lambda value: 0)
    return posterized


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or "it is not of timm's form").strip("'").rstrip(".")


def constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value a channel as [c, 1, 1]."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
