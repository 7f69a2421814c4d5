from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from grng.data.bundle import Split
from grng.data.decoding import decode_all, find_bad
from grng.data.folder import open_folder
from grng.data.opening import PictureSplit, describe, load_pictures
from grng.data.pictures import ArrayPictures
from grng.data.pipeline import evaluation_transform
from grng.errors import GrngError
from tests.data.makers import geometry, image_folder, request, spoil


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    root = image_folder(tmp_path / "data", {"red": 12, "blue": 12}, suffix=".jpg", size=(40, 40))
    spoil(root / "red" / "003.jpg", "truncated")
    spoil(root / "blue" / "005.jpg", "text")
    spoil(root / "blue" / "006.jpg", "empty")
    return root


@pytest.mark.parametrize("threads", [1, 3])
def test_bad_pictures_are_found_and_named(spoilt: Path, threads: int) -> None:
    pool = open_folder(spoilt, strict=False).pools["train"]
    bad = find_bad(pool, "RGB", threads=threads)
    assert [pool.name(index) for index in bad] == ["blue/005.jpg", "blue/006.jpg", "red/003.jpg"]
    assert "truncated" in bad[15].casefold()
    assert all(why == "cannot identify image file" for index, why in bad.items() if index != 15)


@pytest.mark.parametrize("in_memory", [True, False])
def test_they_are_in_no_split(spoilt: Path, in_memory: bool) -> None:
    data = load_pictures(request("folder", spoilt, in_memory=in_memory))
    assert len(data.train) + len(data.val) + len(data.test) == 21
    assert isinstance(data.train, Split if in_memory else PictureSplit)
    assert [name for name, _ in data.skipped] == ["blue/005.jpg", "blue/006.jpg", "red/003.jpg"]
    (said,) = data.warnings
    assert said.startswith("3 pictures cannot be read and are left out: blue/005.jpg: cannot identify image file; ")
    assert data.fingerprint == load_pictures(request("folder", spoilt, in_memory=not in_memory)).fingerprint


def test_strict_makes_them_an_error(spoilt: Path) -> None:
    for call in (load_pictures, describe):
        with pytest.raises(
            GrngError, match=r"3 of the pictures cannot be read: blue/005.jpg: .*leave --strict-data out"
        ):
            call(request("folder", spoilt, strict=True))


def test_a_class_without_a_readable_picture_is_an_error(spoilt: Path) -> None:
    for path in (spoilt / "red").iterdir():
        spoil(path, "empty")
    with pytest.raises(GrngError, match="no training picture of 'red' can be read"):
        load_pictures(request("folder", spoilt))


def test_pictures_in_memory_are_those_that_evaluation_would_read(spoilt: Path) -> None:
    held = load_pictures(request("folder", spoilt, in_memory=True))
    read = load_pictures(request("folder", spoilt, in_memory=False))
    transform = evaluation_transform(held.geometry)
    for name in ("train", "val", "test"):
        images, pictures = getattr(held, name), getattr(read, name)
        assert torch.equal(images.labels, pictures.labels)
        for image, index in zip(images.images, pictures.indices.tolist(), strict=True):
            assert torch.equal(image, transform(pictures.pictures.read(index)))


@pytest.mark.parametrize("shape", [(5, 16, 16), (5, 16, 16, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_taken_as_they_are_where_nothing_would_change_them(shape: tuple[int, ...], channels: int) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pictures = ArrayPictures(arrays, [0, 1, 0, 1, 0], "train")
    how = geometry(crop_pct=1.0, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    images, bad = decode_all(pictures, how, threads=1)
    transform = evaluation_transform(how)
    assert not bad
    for index in range(5):
        assert torch.equal(images[index], transform(pictures.read(index)))


def test_small_pictures_are_held_in_memory_and_large_ones_are_not(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"red": 5, "blue": 5})
    assert isinstance(load_pictures(request("folder", root, img_size=64)).train, Split)
    assert isinstance(load_pictures(request("folder", root, img_size=65)).train, PictureSplit)
    assert isinstance(load_pictures(request("folder", root, img_size=64, per_picture=True)).train, PictureSplit)


def test_without_the_check_bad_pictures_stay(spoilt: Path) -> None:
    data = load_pictures(request("folder", spoilt, in_memory=False, verify=False))
    assert len(data.train) + len(data.val) + len(data.test) == 24
    assert data.skipped == ()
