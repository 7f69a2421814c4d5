from __future__ import annotations

from pathlib import Path

import pytest

from grng.data.doors import Role
from grng.data.folder import open_folder
from grng.data.opening import load_pictures, open_source
from grng.data.pictures import FilePictures
from grng.errors import GrngError
from tests.data.makers import image_folder, request


def paths(root: Path, role: Role = "train") -> list[str]:
    pool = open_folder(root, strict=False).pools[role]
    assert isinstance(pool, FilePictures)
    return list(pool.paths)


def test_classes_are_the_folders_sorted(tmp_path: Path) -> None:
    source = open_folder(image_folder(tmp_path, {"red": 2, "Blue": 1, "green": 3}), strict=False)
    assert source.classes == ("Blue", "green", "red")
    assert source.pools["train"].labels == [0, 1, 1, 1, 2, 2]
    assert set(source.pools) == {"train"}
    assert source.notes == ()


@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("training", "validation"), ("Train", "valid")])
def test_splits_are_found_by_their_names(tmp_path: Path, train: str, val: str) -> None:
    image_folder(tmp_path / train, {"red": 3, "blue": 3})
    image_folder(tmp_path / val, {"red": 1, "blue": 2})
    source = open_folder(tmp_path, strict=False)
    assert {role: len(pool.labels) for role, pool in source.pools.items()} == {"train": 6, "val": 3}


def test_pictures_in_folders_below_the_class_count_and_others_do_not(tmp_path: Path) -> None:
    image_folder(tmp_path, {"red": 1, "blue": 1})
    image_folder(tmp_path / "red", {"more": 1}, suffix=".JPEG")
    image_folder(tmp_path / "red", {".hidden": 1})
    image_folder(tmp_path, {".thumbnails": 1})
    (tmp_path / "red" / ".000.png").write_bytes((tmp_path / "red" / "000.png").read_bytes())
    (tmp_path / "red" / "notes.txt").write_text("x")
    (tmp_path / "blue" / "1.heic").write_text("x")
    assert paths(tmp_path) == ["blue/000.png", "red/000.png", "red/more/000.JPEG"]
    (note,) = open_folder(tmp_path, strict=False).notes
    assert note == f"files in {tmp_path} that are no pictures by their names are left out: 1 .heic, 1 .txt"


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".TIFF", ".ppm"])
def test_other_kinds_of_pictures_are_read_too(tmp_path: Path, suffix: str) -> None:
    data = load_pictures(request("folder", image_folder(tmp_path, {"red": 5, "blue": 5}, suffix=suffix)))
    assert len(data.train) + len(data.val) + len(data.test) == 10
    assert not data.skipped


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", {"red": 2, "blue": 2})
    image_folder(tmp_path, {"elsewhere": 1})
    (root / "red" / "up").symlink_to(root)
    (root / "red" / "self").symlink_to(root / "red")
    (root / "blue" / "out").symlink_to(tmp_path / "elsewhere")
    (root / "blue" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = paths(root)
    assert [path for path in found if path.startswith("blue")] == ["blue/000.png", "blue/001.png", "blue/out/000.png"]
    assert len(found) == len(set(found))


def test_the_same_files_make_the_same_splits(tmp_path: Path) -> None:
    one = image_folder(tmp_path / "one", {"red": 20, "blue": 20})
    other = tmp_path / "other"
    for path in sorted(one.rglob("*.png"), reverse=True):  # made in another order
        copy = other / path.relative_to(one)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    left, right = (load_pictures(request("folder", root)) for root in (one, other))
    assert left.fingerprint == right.fingerprint
    assert (len(left.train), len(left.val), len(left.test)) == (32, 4, 4)
    assert load_pictures(request("folder", one, split_seed=1)).fingerprint != left.fingerprint


def test_only_what_is_missing_is_cut_from_training(tmp_path: Path) -> None:
    image_folder(tmp_path / "train", {"red": 20, "blue": 20})
    image_folder(tmp_path / "test", {"red": 5, "blue": 6})
    data = load_pictures(request("folder", tmp_path))
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 11)


def test_an_empty_class_is_left_out_with_a_word(tmp_path: Path) -> None:
    image_folder(tmp_path, {"red": 2, "blue": 2, "green": 0})
    source = open_folder(tmp_path, strict=False)
    assert source.classes == ("blue", "red")
    assert source.notes == (f"'green' in {tmp_path} has no pictures: left out, and no class of the model",)
    with pytest.raises(GrngError, match=r"'green' in .* has no pictures. Remove what is empty"):
        open_folder(tmp_path, strict=True)


def test_a_class_that_a_split_lacks_is_told(tmp_path: Path) -> None:
    image_folder(tmp_path / "train", {"red": 2, "blue": 2})
    image_folder(tmp_path / "val", {"red": 2})
    assert open_folder(tmp_path, strict=False).notes == (f"{tmp_path / 'val'} has no pictures of 'blue'",)


def message(root: Path) -> str:
    with pytest.raises(GrngError) as caught:
        open_source(request("folder", root))
    assert caught.value.where == "dataset.data_dir"
    return caught.value.message.replace(str(root), "DIR")


def test_what_is_no_image_folder_is_a_message(tmp_path: Path) -> None:
    assert message(tmp_path / "none") == "there is no folder DIR."
    file = tmp_path / "file"
    file.write_text("x")
    assert message(file) == "DIR is a file, not a folder."
    empty = tmp_path / "empty"
    empty.mkdir()
    assert message(empty) == "DIR has no pictures in folders below it."
    videos = image_folder(tmp_path / "videos", {"red": 2, "blue": 1})
    for path in list(videos.rglob("*.png")):
        path.rename(path.with_suffix(".mp4"))
    assert message(videos) == "DIR has no pictures in folders below it, only files .mp4."
    loose = image_folder(tmp_path / "loose", {"red": 2}) / "red"
    assert message(loose) == "DIR has 2 pictures that lie in no class's folder."
    assert message(image_folder(tmp_path / "one", {"red": 5})) == (
        "DIR has only one class, 'red': there is nothing to tell apart."
    )
    image_folder(tmp_path / "no-train" / "val", {"red": 1, "blue": 1})
    assert message(tmp_path / "no-train") == "DIR has no folder train/."
    for name in ("train", "val", "valid"):
        image_folder(tmp_path / "both" / name, {"red": 3, "blue": 3})
    assert message(tmp_path / "both") == "DIR has both val/ and valid/."
    image_folder(tmp_path / "differ" / "train", {"red": 3, "blue": 3})
    image_folder(tmp_path / "differ" / "test", {"red": 3, "bleu": 3})
    assert message(tmp_path / "differ") == "'bleu' in DIR/test is not among the classes of DIR/train."
