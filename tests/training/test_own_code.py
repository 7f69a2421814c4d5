"""The hash of grng's own code: what changes it, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from grng.training.own_code import OWN_CODE, hash_of_sources


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name in ("optim/ring.py", "training/step.py", "report/tables.py"):
        path = tmp_path / "grng" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x = 1\ny = 2\n")
    return tmp_path / "grng"


def test_a_run_notes_a_hash_of_what_is_loaded() -> None:
    assert OWN_CODE is not None
    assert len(OWN_CODE) == 16
    assert int(OWN_CODE, 16) >= 0


def test_code_that_numbers_come_from_changes_it_and_nothing_else_does(package: Path) -> None:
    before = hash_of_sources(package)
    (package / "report" / "tables.py").write_bytes(b"x = 2\n")
    (package / "optim" / "ring.pyc").write_bytes(b"compiled")
    (package / "optim" / "ring.py").write_bytes(b"x = 1\r\ny = 2\r\n")
    assert hash_of_sources(package) == before, "reports, compiled files and line ends are no other code"
    (package / "optim" / "ring.py").write_bytes(b"x = 1\ny = 3\n")
    assert hash_of_sources(package) != before
    (package / "optim" / "ring.py").rename(package / "optim" / "reng.py")
    changed = hash_of_sources(package)
    (package / "optim" / "reng.py").write_bytes(b"x = 1\ny = 2\n")
    assert len({before, changed, hash_of_sources(package)}) == 3, "a file's name is code as well"


def test_a_package_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    assert hash_of_sources(tmp_path / "grng.zip" / "grng") is None
