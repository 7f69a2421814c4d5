from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from grng.errors import RunDirectoryError
from grng.training.checkpoint import load_checkpoint, save_checkpoint


def test_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint" / "last.pt"
    save_checkpoint(path, {"run_id": "abc", "weights": torch.arange(3), "plain": {"a": [1, 2.5, None, (3, "x")]}})
    content = load_checkpoint(path, run_id="abc")
    assert torch.equal(content["weights"], torch.arange(3))
    assert content["plain"] == {"a": [1, 2.5, None, (3, "x")]}
    assert [entry.name for entry in path.parent.iterdir()] == ["last.pt"]


def test_it_can_be_read_by_whom_the_user_lets_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_checkpoint(tmp_path / "last.pt", {})
    finally:
        os.umask(before)
    assert (tmp_path / "last.pt").stat().st_mode & 0o777 == 0o640


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"run_id": "abc", "step": 1})

    def full(content: Any, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunDirectoryError, match="no space left on the disk"):
        save_checkpoint(path, {"run_id": "abc", "step": 2})
    assert load_checkpoint(path, run_id="abc")["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_torch_reports_a_full_disk_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda *_: open("/dev/full", "wb"))  # noqa: PTH123, SIM115
    with pytest.raises(RunDirectoryError, match="no space left on the disk"):
        save_checkpoint(tmp_path / "last.pt", {"weights": torch.zeros(100_000)})


def test_another_runs_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"run_id": "abc"})
    with pytest.raises(RunDirectoryError, match="is a checkpoint of another run"):
        load_checkpoint(tmp_path / "last.pt", run_id="xyz")


def test_another_format(tmp_path: Path) -> None:
    torch.save({"format": 99, "run_id": "abc"}, tmp_path / "last.pt")
    with pytest.raises(RunDirectoryError, match="is a checkpoint of format 99, this grng reads 1"):
        load_checkpoint(tmp_path / "last.pt", run_id="abc")
    torch.save([1, 2], tmp_path / "last.pt")
    with pytest.raises(RunDirectoryError, match="of format None"):
        load_checkpoint(tmp_path / "last.pt", run_id="abc")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(RunDirectoryError, match="the checkpoint is damaged"):
        load_checkpoint(tmp_path / "last.pt", run_id="abc")


class Payload:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch pwned",))


def test_a_file_that_brings_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "run_id": Payload()}, tmp_path / "last.pt")
    with pytest.raises(RunDirectoryError, match="the checkpoint is damaged"):
        load_checkpoint(tmp_path / "last.pt", run_id="abc")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(RunDirectoryError, match="the checkpoint is damaged"):
        load_checkpoint(tmp_path / "old.pt", run_id="abc")
    assert not (tmp_path / "pwned").exists()
