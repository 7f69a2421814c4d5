from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from scipy import stats
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from grng.data.batch_augment import COLUMNS, BatchAugment, augmented, erase, pad_crop, rectangles
from grng.data.draws import uniforms

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]).view(-1, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(-1, 1, 1)


def images(count: int, height: int = 12, width: int = 10) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_without_augmentation_images_are_normalised_as_torchvision_does() -> None:
    batch = images(4)
    mine = augmented(batch, torch.arange(4), BatchAugment(), stream=0, mean=MEAN, std=STD)
    theirs = reference.normalize(batch.float() / 255, MEAN.flatten().tolist(), STD.flatten().tolist())
    assert torch.equal(mine, theirs)


def test_the_padded_crop_is_torchvisions_window_of_the_padded_picture() -> None:
    batch, draws = images(50), uniforms(3, np.arange(50), COLUMNS)
    cut = pad_crop(batch, draws, 4)
    tops, lefts = np.floor(draws[:, 0] * 9).astype(int), np.floor(draws[:, 1] * 9).astype(int)
    assert {*tops} == {*lefts} == set(range(9)), "every offset occurs"
    for index in range(50):
        window = reference.crop(reference.pad(batch[index], [4]), int(tops[index]), int(lefts[index]), 12, 10)
        assert torch.equal(cut[index], window)


def test_normalised_images_are_padded_with_black() -> None:
    batch, draws = images(20), uniforms(3, np.arange(20), COLUMNS)
    after = (pad_crop(batch, draws, 3).float() / 255 - MEAN) / STD
    before = pad_crop((batch.float() / 255 - MEAN) / STD, draws, 3, black=-MEAN / STD)
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_flips_mirror_the_share_asked_for(probability: float) -> None:
    batch, count = images(1).repeat(2000, 1, 1, 1), 2000
    how = BatchAugment(flip=probability)
    flipped = augmented(batch, torch.arange(count), how, stream=5, mean=MEAN, std=STD)
    plain = augmented(batch[:1], torch.arange(1), BatchAugment(), stream=5, mean=MEAN, std=STD)
    mirrored = (flipped == plain.flip(-1)).all(dim=(1, 2, 3))
    assert (mirrored | (flipped == plain).all(dim=(1, 2, 3))).all()
    assert (
        abs(mirrored.double().mean().item() - probability)
        < 4 * math.sqrt(probability * (1 - probability) / count) + 1e-9
    )


def test_rectangles_are_those_of_the_rule_written_out() -> None:
    """One picture at a time, as timm's code has it, with our numbers in the place of Python's."""
    draws = uniforms(11, np.arange(400), COLUMNS)
    top, left, tall, wide = rectangles(draws, 9, 40, 0.7)
    for index, row in enumerate(draws):
        expected = (0, 0, 0, 0)
        if row[3] < 0.7:
            for attempt in range(10):
                area, aspect, down, right = row[4 + 4 * attempt : 8 + 4 * attempt]
                target = (0.02 + area * (1 / 3 - 0.02)) * 9 * 40
                ratio = math.exp(math.log(0.3) + aspect * (math.log(1 / 0.3) - math.log(0.3)))
                height, width = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
                if width < 40 and height < 9:
                    expected = (int(down * (9 - height + 1)), int(right * (40 - width + 1)), height, width)
                    break
        if expected[2] == 0:
            assert tall[index] == 0
        else:
            assert (top[index], left[index], tall[index], wide[index]) == expected


def test_what_is_erased_follows_timms_law() -> None:
    count, size = 4000, 32
    ones = torch.ones(count, 1, size, size)
    mine = (erase(ones, uniforms(2, np.arange(count), COLUMNS), 0.5) == 0).float()
    random.seed(0)
    eraser: Any = RandomErasing
    theirs = (eraser(probability=0.5, mode="const", device="cpu")(ones.clone()) == 0).float()
    areas = mine.sum(dim=(1, 2, 3)), theirs.sum(dim=(1, 2, 3))
    heights = mine.amax(dim=3).sum(dim=(1, 2)), theirs.amax(dim=3).sum(dim=(1, 2))
    for a, b in (areas, heights):
        assert abs((a > 0).float().mean() - (b > 0).float().mean()) < 0.05
        assert stats.ks_2samp(a[a > 0].numpy(), b[b > 0].numpy()).pvalue > 0.01
    edges = [(mask.mean(0)[0, 0, :].mean() / mask.mean()).item() for mask in (mine, theirs)]
    assert abs(edges[0] - edges[1]) < 0.12, "as often at the edge"


def test_a_batch_is_its_pictures_one_by_one() -> None:
    batch, samples = images(16), torch.randperm(500, generator=torch.Generator().manual_seed(1))[:16]
    how = BatchAugment(flip=0.5, padding=2, erasing=0.5)
    together = augmented(batch, samples, how, stream=9, mean=MEAN, std=STD)
    for index in range(16):
        alone = augmented(batch[index : index + 1], samples[index : index + 1], how, stream=9, mean=MEAN, std=STD)
        assert torch.equal(alone[0], together[index])
    assert not torch.equal(together, augmented(batch, samples, how, stream=10, mean=MEAN, std=STD))
