from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from grng.data.opening import PictureSplit, load_pictures
from grng.errors import GrngError
from tests.data.makers import COLOURS, image_folder, pixels, request

datasets = pytest.importorskip("datasets")


def rows(count: int, **extra: list[Any]) -> Any:
    pictures = [Image.fromarray(pixels(list(COLOURS.values())[number % 3], number)) for number in range(count)]
    columns: dict[str, Any] = {"image": pictures, "label": [number % 3 for number in range(count)], **extra}
    made = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    return made.cast_column("label", datasets.ClassLabel(names=list(COLOURS)))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    datasets.DatasetDict({"train": rows(30), "test": rows(9)}).save_to_disk(str(tmp_path / "set"))
    return tmp_path / "set"


def test_a_set_that_was_saved_to_disk(saved: Path) -> None:
    data = load_pictures(request(f"hfds/{saved}", None, in_memory=False))
    assert data.classes == ("blue", "green", "red")
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 9)
    assert isinstance(data.test, PictureSplit)
    first = data.test.pictures.read(4)
    assert first.tobytes() == pixels(COLOURS["green"], 4).tobytes()
    assert data.test.labels.tolist() == [0, 1, 2] * 3


def test_one_split_is_cut_into_three(tmp_path: Path) -> None:
    rows(60).save_to_disk(str(tmp_path / "one"))
    data = load_pictures(request(f"hfds/{tmp_path / 'one'}", None))
    assert (len(data.train), len(data.val), len(data.test)) == (48, 6, 6)
    assert torch.bincount(data.val.labels).tolist() == [2, 2, 2]


def test_a_folder_of_pictures_as_hugging_face_reads_it(tmp_path: Path) -> None:
    image_folder(tmp_path / "data" / "train", {"red": 5, "blue": 5})
    image_folder(tmp_path / "data" / "test", {"red": 2, "blue": 2})
    data = load_pictures(request(f"hfds/{tmp_path / 'data'}", tmp_path / "cache"))
    assert data.classes == ("blue", "red")
    assert (len(data.train), len(data.val), len(data.test)) == (8, 2, 4)


def test_columns_may_be_named_and_labels_may_be_text(tmp_path: Path) -> None:
    made = rows(30, kind=["cat", "dog"] * 15)
    made.rename_column("image", "img").save_to_disk(str(tmp_path / "set"))
    data = load_pictures(request(f"hfds/{tmp_path / 'set'}", None, target_key="kind"))
    assert data.classes == ("cat", "dog")
    for changes, said in (
        ({"target_key": "knid"}, "there is no column 'knid'. Did you mean 'kind'?"),
        ({"input_key": "picture"}, "there is no column 'picture'"),
    ):
        with pytest.raises(GrngError, match=said.replace("?", r"\?")):
            load_pictures(request(f"hfds/{tmp_path / 'set'}", None, **changes))


def test_without_download_no_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **rest: asked.append(address))
    with pytest.raises(GrngError, match=r"hfds/somebody/no-such-set is not on this machine. Give --download"):
        load_pictures(request("hfds/somebody/no-such-set", tmp_path))
    assert not asked


def test_without_the_package_it_is_a_message(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(GrngError, match=r"need the package datasets. Install it: pip install 'grng\[hf\]'"):
        load_pictures(request(f"hfds/{saved}", None))
