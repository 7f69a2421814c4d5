from __future__ import annotations

import hashlib
import io
import random
import zipfile
from pathlib import Path

import pytest
import torch

from grng.models.weights_file import read_weights
from grng.seal import MARK, BrokenSealError, SealedWriter, check_seal
from grng.training.checkpoint import save_checkpoint

TAIL = 2 + len(MARK) + 64


def sealed() -> bytes:
    content = io.BytesIO()
    writer = SealedWriter(content)
    torch.save({"weights": torch.arange(50.0), "step": 3}, writer)  # type: ignore[arg-type]
    writer.seal()
    return content.getvalue()


def check(data: bytes) -> bool:
    return check_seal(io.BytesIO(data))


def test_the_seal_is_the_hash_of_what_is_before_it() -> None:
    data = sealed()
    assert data.endswith(MARK + hashlib.sha256(data[:-TAIL]).hexdigest().encode())
    assert check(data)


def test_every_reader_of_zip_passes_over_it(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"model": {"weight": torch.arange(6.0)}})
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(MARK)
    for mmap in (False, True):
        content = torch.load(path, weights_only=True, mmap=mmap)
        assert torch.equal(content["model"]["weight"], torch.arange(6.0))
    assert read_weights(path).entry == "model"


def test_any_flipped_bit_and_any_missing_end_is_found() -> None:
    data = sealed()
    draw = random.Random(0)
    places = [*draw.sample(range(len(data)), 300), *range(len(data) - TAIL - 22, len(data))]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << draw.randrange(8)
        with pytest.raises(BrokenSealError):
            check(bytes(flipped))
        with pytest.raises(BrokenSealError):
            check(data[:place])
    with pytest.raises(BrokenSealError):
        check(data + b"\0")


def test_what_was_never_sealed_is_told_from_what_lost_its_seal() -> None:
    plain = io.BytesIO()
    torch.save({"step": 3}, plain)
    assert not check(plain.getvalue())
    with pytest.raises(BrokenSealError):
        check(plain.getvalue()[:-1])


def test_the_pieces_that_it_is_written_in_do_not_matter() -> None:
    archive = io.BytesIO()
    torch.save({"step": 3}, archive)
    whole, draw, written = archive.getvalue(), random.Random(1), set()
    for _ in range(20):
        content = io.BytesIO()
        writer, left = SealedWriter(content), whole
        while left:
            count = draw.choice([0, 1, 1, 2, 3, 100])
            assert writer.write(left[:count]) == min(count, len(left))
            left = left[count:]
        writer.seal()
        written.add(content.getvalue())
    assert len(written) == 1
    assert check(written.pop())
    with pytest.raises(ValueError, match="only a zip archive"):
        SealedWriter(io.BytesIO()).seal()
