from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets

from grng.data.bundle import Split
from grng.data.doors import TORCH_SETS
from grng.data.opening import load_pictures
from grng.data.torch_sets import labels_of
from grng.errors import GrngError
from tests.data.makers import cifar, food, mnist, request

SMALL = {"img_size": 32, "crop_pct": 1.0}


@pytest.mark.parametrize("classes", [10, 100])
def test_cifars_pixels_arrive_unchanged_and_test_stays_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    cifar(tmp_path, monkeypatch, train=500, test=200, classes=classes)
    data = load_pictures(request(f"torch/cifar{classes}", tmp_path, **SMALL))
    assert isinstance(data.test, Split)
    kind: Any = torchvision.datasets.CIFAR10 if classes == 10 else torchvision.datasets.CIFAR100
    raw = pickle.loads((tmp_path / kind.base_folder / kind.test_list[0][0]).read_bytes())
    assert np.array_equal(data.test.images.numpy(), raw["data"].reshape(-1, 3, 32, 32))
    assert data.test.labels.tolist() == raw["labels" if classes == 10 else "fine_labels"]
    assert data.classes[:2] == ("class0", "class1")
    share = 50 if classes == 10 else 100  # one a class at least
    assert (len(data.train), len(data.val), len(data.test)) == (500 - share, share, 200)
    assert torch.bincount(data.val.labels, minlength=classes).unique().numel() == 1
    seen = {image.numpy().tobytes() for image in data.test.images}
    assert isinstance(data.val, Split)
    assert not seen & {image.numpy().tobytes() for image in data.val.images}, "validation is cut from training"


def test_mnist_is_resized_and_grey_if_asked(tmp_path: Path) -> None:
    data = load_pictures(request("torch/mnist", mnist(tmp_path), **SMALL, channels=1, mean=(0.5,), std=(0.5,)))
    assert isinstance(data.train, Split)
    assert data.train.images.shape == (30, 1, 32, 32)
    assert data.classes[3] == "3 - three"
    coloured = load_pictures(request("torch/mnist", tmp_path, **SMALL))
    assert isinstance(coloured.train, Split)
    assert torch.equal(coloured.train.images, data.train.images.repeat(1, 3, 1, 1))


def test_a_set_of_files(tmp_path: Path) -> None:
    data = load_pictures(request("torch/food101", food(tmp_path), in_memory=False))
    assert data.classes == ("blue", "green", "red")
    assert (len(data.train), len(data.val), len(data.test)) == (9, 3, 12)


def test_what_is_missing_is_a_message_that_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(GrngError) as caught:
        load_pictures(request("torch/cifar10", tmp_path))
    assert (caught.value.message, caught.value.where) == (
        f"torch/cifar10 is not in {tmp_path}, or is damaged there.",
        "dataset.data_dir",
    )
    assert str(caught.value.hint).startswith("Give --download to download it")


def test_a_damaged_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR is pickled: only what has the published checksum is loaded."""
    real = [list(entry) for entry in torchvision.datasets.CIFAR10.train_list]
    cifar(tmp_path, monkeypatch)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", real)
    monkeypatch.setattr(pickle, "load", lambda *args, **kwargs: pytest.fail("it was unpickled"))
    with pytest.raises(GrngError, match=r"is not in .*, or is damaged there"):
        load_pictures(request("torch/cifar10", tmp_path))


def test_a_download_is_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, download_root: str, **rest: object) -> None:
        (tmp_path / "MNIST" / "raw").rmdir()
        mnist(tmp_path)

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fetch)
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", [("train-images-idx3-ubyte.gz", "")])
    assert len(load_pictures(request("torch/mnist", tmp_path, **SMALL, download=True)).test) == 20


def test_a_download_that_fails_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(GrngError, match=r"torch/cifar10 cannot be downloaded to .*: no route to host"):
        load_pictures(request("torch/cifar10", tmp_path, download=True))
    with pytest.raises(GrngError, match="torchvision cannot download imagenet"):
        load_pictures(request("torch/imagenet", tmp_path, download=True))


def test_a_place_that_is_not_writable_is_found_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(GrngError, match=r"nothing can be downloaded to .*new: .* is not writable"):
        load_pictures(request("torch/cifar10", tmp_path / "new", download=True))


@pytest.mark.parametrize("name", TORCH_SETS)
def test_every_set_is_one_of_torchvisions_with_these_arguments(name: str, tmp_path: Path) -> None:
    """Each constructor gets as far as looking for its files."""
    known = TORCH_SETS[name]
    assert "train" in known.splits
    for arguments in known.splits.values():
        with pytest.raises(
            (RuntimeError, FileNotFoundError, ImportError, OSError), match=r"(?i)found|no such|h5py|exist|not present"
        ):
            getattr(torchvision.datasets, known.kind)(str(tmp_path), **arguments)


def test_labels_without_decoding_where_the_set_knows_them() -> None:
    class Known:
        targets = torch.tensor([[3, 9], [1, 9]])

    class Unknown:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[None, int]:
            return None, index + 5

    assert labels_of(Known()) == [3, 1]
    assert labels_of(Unknown()) == [5, 6]
