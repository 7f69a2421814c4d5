from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from scipy.stats import kstest

from grng.data import load
from grng.data.draws import uniforms
from grng.errors import GrngError


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    bundle = load("sphere")
    return torch.cat([split.images.flatten(1) for split in (bundle.train, bundle.val, bundle.test)]).double()


def test_sizes_and_types() -> None:
    bundle = load("sphere")
    for split, count in ((bundle.train, 256), (bundle.val, 256), (bundle.test, 512)):
        assert split.images.shape == (count, 1, 8, 8)
        assert (split.images.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert 0.4 < split.labels.double().mean() < 0.6
    assert (bundle.num_classes, bundle.channels, bundle.img_size) == (2, 1, 8)
    assert load("sphere", img_size=16).train.images.shape == (256, 1, 16, 16)


def test_the_norm_is_1_and_no_two_points_are_parallel(points: torch.Tensor) -> None:
    torch.testing.assert_close(points.norm(dim=1), torch.ones(1024, dtype=torch.float64), rtol=0, atol=1e-6)
    cosines = (points @ points.T - torch.eye(1024)).abs()
    assert cosines.max() < 0.75


def test_points_are_uniform_on_the_sphere(points: torch.Tensor) -> None:
    """Along any direction the cosine u has (u + 1)/2 ~ Beta((d − 1)/2, (d − 1)/2)."""
    direction = np.random.default_rng(0).normal(size=64)
    cosines = points.numpy() @ (direction / np.linalg.norm(direction))
    assert kstest((cosines + 1) / 2, "beta", args=(31.5, 31.5)).pvalue > 0.01


def test_the_kernel_of_the_theory_is_far_from_singular() -> None:
    """K_ij = x_i·x_j (π − arccos x_i·x_j) / 2π of Du et al.; of as many digits its smallest eigenvalue is far smaller."""
    found = []
    for bundle in (load("sphere"), load("digits", img_size=8)):
        inputs = torch.nn.functional.normalize(bundle.train.images[:256].flatten(1).double(), dim=1)
        cosines = (inputs @ inputs.T).clamp(-1, 1)
        found.append(float(torch.linalg.eigvalsh(cosines * (torch.pi - cosines.arccos()) / (2 * torch.pi)).min()))
    sphere, digits = found
    assert sphere > 0.1
    assert digits < 0.2 * sphere


def test_labels_are_the_sides_of_one_plane(points: torch.Tensor) -> None:
    normal = torch.from_numpy(ndtri(uniforms(0x5EED_0002, np.arange(1), 64) + 2.0**-54)[0])
    labels = torch.cat([getattr(load("sphere"), part).labels for part in ("train", "val", "test")])
    assert torch.equal(labels, (points @ normal > 0).long())


def test_the_same_points_everywhere() -> None:
    """The first coordinates, by SplitMix64 in Python's integers and the quantiles of the standard library."""
    from statistics import NormalDist

    mask, stream = 2**64 - 1, 0x5EED_0001

    def uniform(column: int) -> float:
        mixed = (stream + (column + 1) * 0x9E3779B97F4A7C15) & mask
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = ((mixed ^ (mixed >> shift)) * factor) & mask
        return ((mixed ^ (mixed >> 31)) >> 11) * 2.0**-53 + 2.0**-54

    normal = [NormalDist().inv_cdf(uniform(column)) for column in range(64)]
    length = sum(value**2 for value in normal) ** 0.5
    expected = torch.tensor([value / length for value in normal])
    torch.testing.assert_close(load("sphere").train.images[0].flatten(), expected, rtol=0, atol=1e-7)


def test_splits_share_no_point(points: torch.Tensor) -> None:
    parts = points.split([256, 256, 512])
    assert all(float((a @ b.T).max()) < 0.99 for a, b in itertools.combinations(parts, 2))


@pytest.mark.parametrize("size", [3, 17])
def test_image_sizes_out_of_range(size: int) -> None:
    with pytest.raises(GrngError, match=rf"the image size of sphere must be from 4 to 16 pixels, not {size}\."):
        load("sphere", img_size=size)
