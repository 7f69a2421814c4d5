"""Files of weights: every layout that training scripts write, and everything that is none."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from grng.errors import GrngError
from grng.models.weights_file import read_weights, weights_sha256
from grng.training.checkpoint import save_checkpoint

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}
OTHER = {name: value + 1 for name, value in STATE.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor] = STATE) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def refused(path: Path) -> GrngError:
    with pytest.raises(GrngError) as caught:
        read_weights(path)
    assert caught.value.where == "model.weights"
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", ["x.safetensors", "x.bin"])
def test_safetensors_by_name_or_by_content(tmp_path: Path, name: str) -> None:
    save_file(STATE, tmp_path / name)
    file = read_weights(tmp_path / name)
    assert_same(file.state)
    assert file.entry == ""


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        (STATE, ""),
        ({"state_dict": STATE, "epoch": 3}, "state_dict"),
        ({"model": STATE, "optimizer": {"state": {}}}, "model"),
        ({"model": OTHER, "model_ema": STATE}, "model_ema"),
        ({"state_dict": OTHER, "state_dict_ema": STATE}, "state_dict_ema"),
        ({"model": OTHER, "ema": {"module": STATE}}, "ema.module"),
        ({"format": 1, "run_id": "0", "step": 3, "val_accuracy": 0.5, "model": STATE}, "model"),
        ({f"module.{name}": value for name, value in STATE.items()}, ""),
        ({"state_dict": {f"_orig_mod.module.{name}": value for name, value in STATE.items()}}, "state_dict"),
        ({"model": {name: nn.Parameter(value) for name, value in STATE.items()}}, "model"),
        ({"state_dict": STATE, "args": argparse.Namespace(lr=0.1)}, "state_dict"),
        ({**STATE, "epoch": 3}, ""),
    ],
)
def test_layouts_of_torch_files(tmp_path: Path, content: Any, entry: str) -> None:
    path = tmp_path / "x.pt"
    torch.save(content, path)
    file = read_weights(path)
    assert_same(file.state)
    assert file.entry == entry
    assert not any(value.requires_grad for value in file.state.values())


def test_the_old_format_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    assert_same(read_weights(path).state)


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, zipped: bool) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": STATE, "extra": Canary(canary)}, path, _use_new_zipfile_serialization=zipped)
    error = refused(path)
    assert "asks for posix.system" in error.message
    assert "It was not read" in error.message
    assert not canary.exists()
    with path.open("rb") as file:  # the file is as dangerous as it looks
        torch.load(file, weights_only=False)
    assert canary.exists()


def test_a_bare_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps(Canary(canary)))
    assert refused(path).message == f"{path} is damaged or holds no weights: Unsupported operand 149."
    assert not canary.exists()


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.Linear(2, 2), path)
    assert "torch.nn.modules.linear.Linear" in refused(path).message


@pytest.mark.parametrize("kept", [0, 1, 5, 60, -1])
def test_a_truncated_safetensors_file(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:kept])
    assert "is damaged or holds no weights" in refused(path).message


@pytest.mark.parametrize("kept", [0, 1, 100, -100])
def test_a_truncated_torch_file(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.pt"
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:kept])
    assert "is damaged or holds no weights" in refused(path).message


def test_any_flipped_bit_and_any_missing_end_of_a_runs_checkpoint_is_found(tmp_path: Path) -> None:
    path, draw = tmp_path / "best.pt", random.Random(0)
    save_checkpoint(path, {"model": STATE})
    whole = path.read_bytes()
    assert_same(read_weights(path).state)
    for place in [*draw.sample(range(len(whole)), 100), *range(len(whole) - 100, len(whole))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        assert " is damaged: the " in refused(path).message
        path.write_bytes(whole[:place])
        assert " is damaged" in refused(path).message


def test_archives_of_others_may_have_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(STATE, path)
    for comment in (b"epoch 3", b"", bytes(75), b"x" * 77):
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = comment
        assert_same(read_weights(path).state)


@pytest.mark.parametrize("content", [b"seed: 1\n", b"{}", b"\x89PNG\r\n\x1a\n" + bytes(50), b"PK\x03\x04junk"])
def test_files_that_are_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    assert "is damaged or holds no weights" in refused(path).message


def test_an_archive_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(3))
    error = refused(path)
    assert "Weights are read from .safetensors files" in str(error.hint)


@pytest.mark.parametrize("content", [{"epoch": 1}, {}, [1, 2], torch.zeros(2), "text", {"model": {"a": {"b": 1}}}])
def test_torch_files_without_weights(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "x.pt"
    torch.save(content, path)
    assert "holds no weights" in refused(path).message


def test_no_file(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "best.pt")
    error = refused(tmp_path / "bset.pt")
    assert error.message.startswith("there is no file ")
    assert error.hint == "Did you mean 'best.pt'?"
    assert "there is no file" in refused(tmp_path / "missing" / "x.pt").message


def test_a_directory(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path).message


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in refused(tmp_path / "pipe").message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(STATE, path)
    path.chmod(0)
    assert "cannot be read" in refused(path).message


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"abc" * 1_000_000)
    assert weights_sha256(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    path.write_bytes(b"other")
    assert weights_sha256(path) == hashlib.sha256(b"other").hexdigest()
    with pytest.raises(GrngError, match="there is no file"):
        weights_sha256(tmp_path / "missing.bin")
