from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from grng.data import streams
from grng.data.bundle import Split
from grng.data.opening import load_pictures
from grng.errors import GrngError
from tests.data.makers import request, shards

pytest.importorskip("webdataset")
# webdataset leaves closing its shards to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")


def test_shards_are_read_into_memory_with_their_splits(tmp_path: Path) -> None:
    data = load_pictures(request("wds/toy", shards(tmp_path, {"train": 30, "validation": 6, "test": 9}), crop_pct=1.0))
    assert isinstance(data.train, Split)
    assert (len(data.train), len(data.val), len(data.test)) == (30, 6, 9)
    assert data.num_classes == 3
    assert torch.bincount(data.train.labels).tolist() == [10, 10, 10]
    blue = data.train.images[data.train.labels == 0].float().mean(dim=(0, 2, 3))
    assert blue[2] > blue[0] + 100


def test_missing_splits_are_cut_from_training(tmp_path: Path) -> None:
    data = load_pictures(request("wds/toy", shards(tmp_path, {"train": 30}), crop_pct=1.0))
    assert (len(data.train), len(data.val), len(data.test)) == (24, 3, 3)


def test_what_does_not_fit_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LIMIT_BYTES", 10_000)
    shards(tmp_path, {"train": 30})
    with pytest.raises(GrngError, match="can only be kept in memory"):
        load_pictures(request("wds/toy", tmp_path, crop_pct=1.0))
    assert len(load_pictures(request("wds/toy", tmp_path, crop_pct=1.0, in_memory=True)).train) == 24


def test_missing_packages_and_files_are_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GrngError, match="wds/toy cannot be read from"):
        load_pictures(request("wds/toy", tmp_path))
    real = importlib.util.find_spec
    absent = ("webdataset", "tensorflow_datasets")

    def find(name: str, package: str | None = None) -> Any:
        return None if name in absent else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    for name, said in (
        ("wds/toy", "needs the package webdataset"),
        ("tfds/toy", "needs the package tensorflow_datasets"),
    ):
        with pytest.raises(GrngError, match=said):
            load_pictures(request(name, tmp_path))
