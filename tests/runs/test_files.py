from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from grng.errors import RunDirectoryError
from grng.runs.files import atomic_write_bytes, atomic_write_json, atomic_write_text, explain_os_errors, is_temporary


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "x"
    atomic_write_bytes(path, b"old")
    atomic_write_text(path, "ρ")
    assert path.read_text(encoding="utf-8") == "ρ"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_strict(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "x.json", {"a": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic_write_json(tmp_path / "y.json", float("nan"))
    assert not (tmp_path / "y.json").exists()


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "ours", b"")
    (tmp_path / "other").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "result.json"
    path.write_text("old", encoding="utf-8")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RunDirectoryError) as caught:
        atomic_write_text(path, "new")
    assert str(caught.value) == (
        f"{path}: no space left on the disk. Free some space, then give the same command again: it resumes."
    )
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_really_full_device() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(RunDirectoryError, match="no space left"), explain_os_errors(Path("/dev/full")):
        Path("/dev/full").write_text("x", encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "is not writable."),
        (errno.EROFS, "is not writable."),
        (errno.ENOENT, "does not exist."),
        (errno.ENOTDIR, "lies below something that is not a directory."),
        (errno.ENAMETOOLONG, "the name is too long for the file system."),
        (errno.EIO, f"cannot be used: {os.strerror(errno.EIO)}."),
    ],
)
def test_other_file_system_errors(number: int, message: str) -> None:
    with pytest.raises(RunDirectoryError) as caught, explain_os_errors(Path("x")):
        raise OSError(number, os.strerror(number))
    assert (caught.value.where, caught.value.message) == ("x", message)


def test_knows_its_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(path: Path, target: Path) -> None:
        assert is_temporary(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        atomic_write_bytes(tmp_path / "x", b"")
    assert not is_temporary(tmp_path / "x")
