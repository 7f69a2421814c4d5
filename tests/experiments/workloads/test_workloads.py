"""A comparison on several workloads, short of training: everything is checked before the first run begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from grng.errors import GrngError, RunDirectoryError
from grng.experiments.compare_config import CompareConfig
from grng.experiments.record import Record
from grng.experiments.workloads.compare import compare_workloads, prepare_workloads, split
from grng.experiments.workloads.record import WorkloadsRecord, check_root

TWO: list[dict[str, Any]] = [
    {"model": "test_vit", "dataset": "digits"},
    {"name": "Odd", "model": "test_vit", "dataset": "digits", "training": {"batch_size": 8}},
]


def config(workloads: list[dict[str, Any]], **given: Any) -> CompareConfig:
    values = {"optimizers": "sgd", "seeds": 1, "workers": 0, "training": {"steps": 1}, "dataset": {"img_size": 32}}
    return CompareConfig.model_validate({**values, "workloads": workloads, **given})


def test_each_workload_is_an_experiment_below_the_comparison(tmp_path: Path) -> None:
    prepared = prepare_workloads(config(TWO, output=tmp_path / "x"))
    assert prepared.several
    assert prepared.names == ("test_vit-digits", "Odd")
    first, second = (one.directory for one in prepared.each)
    assert first == tmp_path / "x" / "test_vit-digits"
    assert second.parent == tmp_path / "x"
    assert second.name.startswith("Odd~"), "which a file system that ignores case keeps apart"
    assert prepared.run_count == 2
    assert not (tmp_path / "x").exists(), "nothing is written"


def test_the_default_directory_is_named_after_all_of_them() -> None:
    names = [prepare_workloads(config(workloads)).directory for workloads in (TWO, TWO[::-1], TWO[:1])]
    assert names[0] == names[1]
    assert names[0] != names[2]
    assert all(name.parent == Path("runs") and name.name.startswith("compare-") for name in names)


def test_all_workloads_are_checked_before_the_first_run(tmp_path: Path) -> None:
    large = {"name": "large", "model": "test_vit", "dataset": "digits", "training": {"batch_size": 100_000}}
    with pytest.raises(GrngError, match=r"batch") as caught:
        prepare_workloads(config([TWO[0], large], output=tmp_path / "x"))
    assert str(caught.value.where).startswith(("large: ", "workloads[1]"))
    assert not (tmp_path / "x").exists()


def test_directories_of_something_else_are_refused(tmp_path: Path) -> None:
    one = Record(optimizers=["sgd"], seeds=[0], reference="sgd", workers=1)
    one.save(tmp_path / "one")
    several = WorkloadsRecord(workloads=["a", "b"], optimizers=["sgd"], seeds=[0], reference="sgd")
    several.save(tmp_path / "several")
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("")
    for name, said in (("one", "one workload"), ("file", "is a file"), ("other", "something else .*letter.txt")):
        with pytest.raises(RunDirectoryError, match=said):
            prepare_workloads(config(TWO, output=tmp_path / name))
    check_root(tmp_path / "several")
    with pytest.raises(RunDirectoryError, match="several workloads"):
        prepare_workloads(config(TWO[:1], output=tmp_path / "several"))


def test_rows_of_several_workloads_at_once_are_a_mistake() -> None:
    from grng.experiments.plan import rows

    with pytest.raises(ValueError, match="split"):
        rows(config(TWO))


def test_the_pilot_of_a_workload_is_the_workload_of_its_name(tmp_path: Path) -> None:
    several = WorkloadsRecord(workloads=["a", "b"], optimizers=["sgd"], seeds=[0], reference="sgd")
    several.save(tmp_path / "pilot")
    found = split(config(TWO, planning={"pilot": tmp_path / "pilot"}))
    assert next(one.config.planning.pilot for one in found) == tmp_path / "pilot" / "test_vit-digits"


def test_from_python(tmp_path: Path) -> None:
    seen: list[str | None] = []
    made = compare_workloads(config(TWO[:1], output=tmp_path / "x"), on_workload=seen.append)
    assert seen == [None]
    assert list(made.workloads) == ["test_vit-digits"]
    assert made.directory == tmp_path / "x"
    assert made.failed == []
    assert made.workloads["test_vit-digits"].results[0].steps == 1
    assert sorted(path.name for path in made.directory.iterdir()) == ["experiment.yaml", "sgd"], "as without workloads"


def test_what_is_written_says_what_the_workloads_share(tmp_path: Path) -> None:
    record = WorkloadsRecord(workloads=["b", "a"], optimizers=["sgd", "ring"], seeds=[0, 3], reference="ring")
    record.save(tmp_path)
    before = (tmp_path / "workloads.yaml").stat().st_mtime_ns
    record.save(tmp_path)
    assert (tmp_path / "workloads.yaml").stat().st_mtime_ns == before, "equal text is not written again"
    value = yaml.safe_load((tmp_path / "workloads.yaml").read_text())
    assert (value["schema_version"], value["workloads"], value["seeds"]) == (1, ["b", "a"], [0, 3])
