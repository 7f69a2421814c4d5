from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from timm.data import create_transform

from grng.data.batch_augment import normalised
from grng.data.pipeline import (
    PictureAugment,
    Transform,
    adapt_channels,
    constants,
    evaluation_transform,
    model_data_config,
    training_transform,
)
from grng.errors import GrngError
from tests.data.makers import geometry, pixels

CPU = torch.device("cpu")
SETTINGS: Any = timm.data.resolve_model_data_config


def picture(size: tuple[int, int] = (37, 51)) -> Image.Image:
    return Image.fromarray(pixels((100, 150, 90), 1, size=size))


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "resnet18", "vit_tiny_patch16_224", "test_convnext"])
def test_a_models_settings_are_timms(model: str) -> None:
    assert model_data_config(model) == SETTINGS(timm.create_model(model))


def test_a_model_without_settings_gets_timms_defaults() -> None:
    assert model_data_config("no-such-model")["interpolation"] == "bicubic"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_evaluation_is_timms_transform_bit_for_bit(interpolation: str, crop_mode: str) -> None:
    how = geometry(interpolation=interpolation, crop_mode=crop_mode, crop_pct=0.9, img_size=24)
    theirs = create_transform(
        (3, 24, 24),
        is_training=False,
        interpolation=interpolation,
        crop_mode=crop_mode,
        crop_pct=0.9,
        mean=how.mean,
        std=how.std,
    )(picture())
    mine = evaluation_transform(how)(picture())
    assert mine.dtype == torch.uint8
    assert torch.equal(normalised(mine[None], constants(how.mean, CPU), constants(how.std, CPU))[0], theirs)


def drawn(transform: Transform, seed: int) -> torch.Tensor:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    return transform(picture())


@pytest.mark.parametrize(
    "how",
    [
        PictureAugment(resized=((0.3, 0.6), (0.75, 1.3))),
        PictureAugment(auto_augment="rand-m9-mstd0.5-inc1"),
        PictureAugment(auto_augment="augmix-m3-w3"),
        PictureAugment(auto_augment="original"),
        PictureAugment(color_jitter=0.4),
    ],
)
def test_training_changes_pictures_at_random_as_seeded(how: PictureAugment) -> None:
    transform = training_transform(geometry(), how)
    images = [drawn(transform, seed) for seed in range(4)]
    assert all(image.shape == (3, 16, 16) and image.dtype == torch.uint8 for image in images)
    assert torch.equal(images[2], drawn(transform, 2))
    assert len({image.numpy().tobytes() for image in images}) > 1


@pytest.mark.parametrize("text", ["rand-m10-inc1-n8", "augmix-m10-w8", "original"])
def test_every_magnitude_that_timm_draws_can_be_done(text: str) -> None:
    transform = training_transform(geometry(), PictureAugment(auto_augment=text))
    for seed in range(40):  # posterizing to 0 bits is among them
        drawn(transform, seed)


def test_training_without_augmentation_is_evaluation() -> None:
    assert torch.equal(
        training_transform(geometry(), PictureAugment())(picture()), evaluation_transform(geometry())(picture())
    )


def test_a_resized_crop_is_timms_with_the_same_draws() -> None:
    how = PictureAugment(resized=((0.08, 1.0), (0.75, 4 / 3)))
    create: Any = create_transform
    theirs = create(
        (3, 16, 16), is_training=True, hflip=0.0, color_jitter=None, interpolation="bilinear", normalize=False
    )
    random.seed(5)
    expected = theirs(picture())
    assert torch.equal(drawn(training_transform(geometry(), how), 5), expected)


@pytest.mark.parametrize("text", ["rand-q9", "nonsense"])
def test_what_timm_does_not_understand_is_a_message(text: str) -> None:
    with pytest.raises(GrngError, match=f"timm cannot take auto_augment '{text}'") as caught:
        training_transform(geometry(), PictureAugment(auto_augment=text))
    assert caught.value.where == "augment.auto_augment"


def test_grey_has_the_mean_of_the_channels_and_no_auto_augment() -> None:
    assert adapt_channels((0.2, 0.4, 0.6), 1) == pytest.approx((0.4,))
    grey = geometry(channels=1, mean=(0.5,), std=(0.5,))
    assert evaluation_transform(grey)(picture()).shape == (1, 16, 16)
    with pytest.raises(GrngError, match="3 channels"):
        training_transform(grey, PictureAugment(auto_augment="original"))
