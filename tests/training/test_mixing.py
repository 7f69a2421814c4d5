"""Mixup, CutMix, label smoothing: what they do, and that what is drawn depends on seed and step alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.loss import LabelSmoothingCrossEntropy
from torch import Tensor
from torch.nn import functional as F

from grng.runs.sections import AugmentConfig
from grng.training.loss import Loss
from grng.training.mixing import Mixing

CLASSES = 5


def batch(count: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 2, 6, 6, generator=generator), torch.randint(0, CLASSES, (count,), generator=generator)


def mixed(step: int = 0, *, seed: int = 0, **settings: Any) -> tuple[Tensor, Tensor]:
    return Mixing(AugmentConfig(**settings), CLASSES, seed=seed)(*batch(), step)


def test_nothing_is_changed_by_default() -> None:
    images, labels = batch()
    found = Mixing(AugmentConfig(), CLASSES, seed=0)(images, labels, 3)
    assert found[0] is images
    assert found[1] is labels


def test_mixup_averages_each_image_and_label_with_its_partner() -> None:
    images, labels = batch()
    found, targets = mixed(mixup=1.0)
    one_hot = F.one_hot(labels, CLASSES).float()
    differing = int((labels != labels.flip(0)).nonzero()[0])
    share = float(targets[differing, labels[differing]])
    assert 0 < share < 1
    torch.testing.assert_close(found, share * images + (1 - share) * images.flip(0))
    torch.testing.assert_close(targets, share * one_hot + (1 - share) * one_hot.flip(0))


def test_cutmix_pastes_a_rectangle_and_counts_its_area() -> None:
    images, labels = batch()
    found, targets = mixed(step=1, cutmix=1.0)
    pasted = (found != images).any(dim=1)
    assert bool(pasted.any())
    assert torch.equal(found[pasted[:, None].expand_as(found)], images.flip(0)[pasted[:, None].expand_as(found)])
    rows, columns = pasted[0].any(dim=1).nonzero(), pasted[0].any(dim=0).nonzero()
    area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    assert int(pasted[0].sum()) == int(area), "a rectangle"
    share = 1 - int(area) / 36
    one_hot = F.one_hot(labels, CLASSES).float()
    torch.testing.assert_close(targets, share * one_hot + (1 - share) * one_hot.flip(0))


@pytest.mark.parametrize(
    "settings", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0, "mixup_prob": 0.7}]
)
def test_the_draws_are_a_function_of_seed_and_step(settings: dict[str, Any]) -> None:
    first = mixed(step=5, **settings)
    before = np.random.get_state()  # noqa: NPY002
    again = mixed(step=5, **settings)
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)), "global state is kept"
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    others = [mixed(step=step, **settings)[0] for step in range(20)]
    assert len({tuple(images.flatten().tolist()) for images in others}) > 5
    assert any(not torch.equal(mixed(step=k, seed=1, **settings)[0], image) for k, image in enumerate(others))


def test_a_share_of_the_batches_is_mixed_and_of_these_a_share_is_cut() -> None:
    images, _ = batch()
    found = [mixed(step=step, mixup=1.0, cutmix=1.0, mixup_prob=0.6, mixup_switch_prob=0.25)[0] for step in range(400)]
    changed = [image for image in found if not torch.equal(image, images)]
    cut = [image for image in changed if bool((image == images).any())]
    assert 0.5 < len(changed) / 400 < 0.7
    assert 0.15 < len(cut) / len(changed) < 0.35


def test_label_smoothing_is_torch_s_and_timm_s() -> None:
    outputs = torch.randn(8, CLASSES, generator=torch.Generator().manual_seed(3))
    images, labels = batch()
    found, targets = mixed(label_smoothing=0.2)
    assert torch.equal(found, images)
    loss = Loss()(outputs, targets)
    torch.testing.assert_close(loss, F.cross_entropy(outputs, labels, label_smoothing=0.2))
    timms: Any = LabelSmoothingCrossEntropy  # has no types
    torch.testing.assert_close(loss, timms(0.2)(outputs, labels))


def test_smoothed_and_mixed_labels_are_probabilities() -> None:
    _, targets = mixed(mixup=1.0, cutmix=1.0, label_smoothing=0.1)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
    assert float(targets.min()) == pytest.approx(0.02, abs=1e-6)
