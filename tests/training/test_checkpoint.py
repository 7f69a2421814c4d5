from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from grng.errors import RunDirectoryError
from grng.training.checkpoint import Latest, load_checkpoint, load_latest, save_checkpoint


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


def save(directory: Path, step: int) -> None:
    content = {"run_id": "abc", "progress": {"step": step}, "weights": torch.full((9,), float(step))}
    save_checkpoint(directory / "last.pt", content, previous=directory / "previous.pt")


def latest(directory: Path) -> Latest | None:
    return load_latest(directory / "last.pt", directory / "previous.pt", run_id="abc")


def step_of(found: Latest | None) -> tuple[str, int] | None:
    return None if found is None else (found.source, found.content["progress"]["step"])


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def test_what_is_damaged_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    flip(tmp_path / "last.pt", 200)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(RunDirectoryError, match=r"the checkpoint is damaged: the checksum does not fit\."):
        load_checkpoint(tmp_path / "last.pt", run_id="abc")


def test_the_one_before_is_kept(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    for step in (1, 2, 3):
        save(tmp_path, step)
        assert step_of(latest(tmp_path)) == ("last", step)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last.pt", "previous.pt"]
    assert load_checkpoint(tmp_path / "previous.pt", run_id="abc")["progress"]["step"] == 2


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("dies_at", range(1, 6))
def test_a_death_at_any_moment_leaves_one_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int, links: bool
) -> None:
    """The process ends before one of the calls that change the file system, which come in this order."""
    for step in (1, 2):
        save(tmp_path, step)
    count = 0

    def dying(call: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count >= dies_at:
                raise SystemExit
            return call(*arguments)

        return wrapped

    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patch:
        for owner, name in ((os, "fsync"), (Path, "replace")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        patch.setattr(os, "link", dying(os.link) if links else refuse)
        try:
            save(tmp_path, 3)
        except SystemExit:
            pass
        else:
            assert dies_at > count
    found = step_of(latest(tmp_path))
    assert found in ([("last", 2), ("last", 3)] if links else [("last", 2), ("last", 3), ("previous", 2)])
    save(tmp_path, 4)
    assert step_of(latest(tmp_path)) == ("last", 4)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_damage_is_told_and_the_one_before_is_used(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:-500])
    found = latest(tmp_path)
    assert step_of(found) == ("previous", 1)
    assert found is not None
    assert found.warning == (
        f"{last}: the checkpoint is damaged: the file does not end as it should. "
        "Going on from previous.pt, step 1; later steps are done again."
    )
    flip(tmp_path / "previous.pt", 300)
    with pytest.raises(RunDirectoryError) as caught:
        latest(tmp_path)
    assert str(caught.value) == (
        f"{last}: the checkpoint is damaged: the file does not end as it should, and so is previous.pt. "
        "Do the run again from the start with --rerun, or in another directory."
    )


def test_a_missing_one_is_told_too(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "last.pt").unlink()
    found = latest(tmp_path)
    assert step_of(found) == ("previous", 1)
    assert found is not None
    assert found.warning is not None
    assert "the checkpoint is missing. Going on from previous.pt" in found.warning


def test_another_runs_checkpoint_is_no_damage(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    with pytest.raises(RunDirectoryError, match="is a checkpoint of another run"):
        load_latest(tmp_path / "last.pt", tmp_path / "previous.pt", run_id="xyz")


def test_a_checkpoint_without_a_checksum_is_read(tmp_path: Path) -> None:
    torch.save({"format": 1, "run_id": "abc", "progress": {"step": 7}}, tmp_path / "last.pt")
    assert step_of(latest(tmp_path)) == ("last", 7)
