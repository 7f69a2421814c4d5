from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from grng.data.pictures import decode, to_mode

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> Image.Image:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return decode(stream.getvalue())


def array(image: Image.Image, mode: str = "RGB") -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(to_mode(image, mode))


def test_grey_becomes_three_equal_channels_and_stays_grey_where_that_is_asked() -> None:
    picture = saved(Image.fromarray(RAMP))
    assert np.array_equal(array(picture), np.stack([RAMP] * 3, axis=2))
    assert np.array_equal(array(picture, "L"), RAMP)


def test_a_palette_gives_its_colours_with_and_without_transparency() -> None:
    palette = Image.new("P", (8, 6))
    palette.putdata((RAMP % 3).ravel().tolist())
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    expected = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)[RAMP % 3]
    assert np.array_equal(array(saved(palette)), expected)
    assert np.array_equal(array(saved(palette, transparency=bytes([0, 128, 255]))), expected)


def test_transparency_is_dropped() -> None:
    colours = np.stack([RAMP, RAMP // 2, 255 - RAMP, RAMP], axis=2)
    assert np.array_equal(array(saved(Image.fromarray(colours))), colours[..., :3])


def test_cmyk_becomes_rgb() -> None:
    picture = saved(Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "JPEG", quality=100)
    assert picture.mode == "CMYK"
    red = array(picture)[3, 4]
    assert red[0] > 200
    assert max(red[1:]) < 60


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_sixteen_bits_are_scaled_to_eight(mode: str) -> None:
    deep = (RAMP.astype(np.uint16) * 257).astype(np.uint16)
    found = array(saved(Image.fromarray(deep)), mode)
    assert np.array_equal(found if mode == "L" else found[..., 0], RAMP)


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_pictures_are_upright_as_the_camera_says(orientation: int, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = array(saved(Image.fromarray(RAMP), exif=exif), "L")
    assert np.array_equal(found, np.rot90(RAMP, turned))
