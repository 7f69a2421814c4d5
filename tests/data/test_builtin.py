from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import grng.data
from grng.data import DataBundle, Split, builtin, list_datasets, load
from grng.errors import GrngError

BUNDLED = [info for info in list_datasets() if not info.made]
NAMES = [info.name for info in BUNDLED]
FILES = Path(grng.data.__file__).parent / "files"


@pytest.fixture(scope="module", params=NAMES)
def bundle(request: pytest.FixtureRequest) -> DataBundle:
    return load(request.param)


def parts(bundle: DataBundle) -> dict[str, Split]:
    return {"train": bundle.train, "val": bundle.val, "test": bundle.test}


def raw(name: str) -> dict[str, np.ndarray]:
    with np.load(FILES / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_shapes_and_types(bundle: DataBundle) -> None:
    info = grng.data.dataset_info(bundle.name)
    for part, split in parts(bundle).items():
        assert split.images.shape == (getattr(info, part), 1, 32, 32)
        assert len(split) == getattr(info, part)
        assert split.images.dtype == torch.float32
        assert split.labels.dtype == torch.int64
        assert split.images.is_contiguous()
    assert (bundle.channels, bundle.num_classes, bundle.img_size) == (1, 10, 32)
    assert 0 < bundle.target < 1


def test_normalised_by_the_training_split_alone(bundle: DataBundle) -> None:
    train = bundle.train.images.double()
    assert train.mean().item() == pytest.approx(0, abs=1e-6)
    assert train.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert abs(bundle.test.images.double().mean().item()) > 1e-5  # not normalised by itself


def test_splits_share_no_image_and_hold_all_of_them(bundle: DataBundle) -> None:
    arrays = raw(bundle.name)
    indices = np.concatenate([arrays[f"{part}_index"] for part in parts(bundle)])
    assert sorted(indices.tolist()) == list(range(len(arrays["labels"])))


def test_splits_are_stratified(bundle: DataBundle) -> None:
    total = np.bincount(raw(bundle.name)["labels"])
    for split in parts(bundle).values():
        share = len(split) / total.sum()
        counts = torch.bincount(split.labels, minlength=10).numpy()
        assert np.abs(counts - share * total).max() <= 2


def test_mnist_is_padded_with_background_and_keeps_its_pixels() -> None:
    bundle, arrays = load("mnist5k"), raw("mnist5k")
    index = int(arrays["test_index"][123])
    pixels = bundle.test.images[123, 0] * bundle.std[0] + bundle.mean[0]
    expected = np.pad(arrays["images"][index], 2).astype(np.float32) / 255
    assert torch.allclose(pixels, torch.from_numpy(expected), atol=1e-6)
    assert bundle.test.labels[123].item() == arrays["labels"][index]


def test_published_sizes_are_given_without_interpolation() -> None:
    for name, size, top in (("mnist5k", 28, 255), ("digits", 8, 16)):
        bundle, arrays = load(name, img_size=size), raw(name)
        pixels = bundle.val.images[:, 0] * bundle.std[0] + bundle.mean[0]
        expected = arrays["images"][arrays["val_index"]].astype(np.float32) / top
        assert torch.allclose(pixels, torch.from_numpy(expected), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_resizing_keeps_the_mean_brightness(name: str) -> None:
    default, small = load(name), load(name, img_size=16)
    assert small.train.images.shape[-2:] == (16, 16)
    assert small.img_size == 16
    assert small.mean[0] == pytest.approx(default.mean[0], rel=0.02)
    assert torch.equal(small.train.labels, default.train.labels)


def test_loading_does_not_depend_on_the_number_of_threads() -> None:
    before = load("digits").train.images
    torch.set_num_threads(2)
    try:
        assert torch.equal(load("digits").train.images, before)
    finally:
        torch.set_num_threads(1)


def test_image_size_out_of_range_is_refused() -> None:
    with pytest.raises(GrngError, match="must be from 4 to 512 pixels, not 2"):
        load("mnist5k", img_size=2)


def test_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FILES, tmp_path / "files")
    damaged = tmp_path / "files" / "digits.npz"
    data = bytearray(damaged.read_bytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    monkeypatch.setattr(builtin, "files", lambda package: tmp_path)
    with pytest.raises(GrngError, match="the bundled data is damaged: its SHA-256 is") as caught:
        load("digits")
    assert caught.value.where == str(damaged)
    assert caught.value.hint == "Reinstall grng: `pip install --force-reinstall --no-deps grng`."


def test_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "files", lambda package: tmp_path)
    with pytest.raises(GrngError, match=r"the bundled data cannot be read\."):
        load("digits")


def test_provenance_tells_licence_and_source_of_every_file() -> None:
    records = json.loads((FILES / "provenance.json").read_text(encoding="utf-8"))["files"]
    assert set(records) == {path.name for path in FILES.glob("*.npz")}
    for info in BUNDLED:
        record = records[f"{info.name}.npz"]
        assert record["split"] == {"train": info.train, "val": info.val, "test": info.test}
        assert all(record[key] for key in ("licence", "url", "authors", "obtained_from"))
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 1.2e6
