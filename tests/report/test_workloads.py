"""Directories of several models and data sets, sorted by workload."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from grng.errors import GrngError, UnknownNameError
from grng.report.load import load_experiment
from grng.report.workloads import load_workloads
from tests.report.factory import make_experiment, make_result, make_run, place, write_run

SCORES = {"adamw": [0.95, 0.96], "ring": [0.97, 0.96]}


def write_names(root: Path, *names: str) -> None:
    (root / "workloads.yaml").write_text(yaml.safe_dump({"schema_version": 1, "workloads": list(names)}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A comparison on two workloads of one model and data set, under names of their own."""
    root = tmp_path / "x"
    make_experiment(root / "short", SCORES, epochs=1)
    make_experiment(root / "long", SCORES)
    write_names(root, "short", "long")
    return root


def test_workloads_are_those_that_the_file_names_in_its_order(root: Path) -> None:
    made = load_workloads(root)
    assert list(made.each) == ["short", "long"]
    assert made.several
    assert made.warnings == ()
    assert made.labels == ("adamw", "ring")
    for name, experiment in made.each.items():
        assert experiment == load_experiment(root / name)
    assert {run.result.epochs for run in made.each["short"].runs if run.result} == {1}


def test_what_has_not_begun_and_what_is_left_over_is_said(root: Path) -> None:
    write_names(root, "long", "next")
    made = load_workloads(root)
    assert list(made.each) == ["long"]
    assert made.several, "one of two"
    assert made.warnings == (
        "the workload next has not begun",
        f"{root} also holds short: not part of this comparison, left out",
    )


def test_a_file_that_cannot_be_read_is_said_and_the_runs_tell(root: Path, tmp_path: Path) -> None:
    (root / "workloads.yaml").write_text("workloads: [3]")
    made = load_workloads(root)
    assert list(made.each) == ["test_resnet on mnist5k"]
    assert "workloads.yaml cannot be read" in made.each["test_resnet on mnist5k"].warnings[-1]
    empty = tmp_path / "empty"
    empty.mkdir()
    write_names(empty, "a", "b")
    with pytest.raises(GrngError, match="holds neither an experiment nor a run"):
        load_workloads(empty)


def test_runs_are_sorted_by_model_and_data_set(tmp_path: Path) -> None:
    make_experiment(tmp_path / "a", SCORES)
    make_experiment(tmp_path / "b", SCORES, model="test_vit")
    make_experiment(tmp_path / "c", {"adamw": [0.9]}, model="test_vit", dataset="digits")
    shutil.rmtree(place(tmp_path / "b", "ring", 1))
    (place(tmp_path / "b", "ring", 0) / "result.json").unlink()
    make_run(tmp_path / "alone", "ring", 7, model="test_vit", dataset="digits")
    made = load_workloads([tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path / "alone"])
    assert list(made.each) == ["test_resnet on mnist5k", "test_vit on mnist5k", "test_vit on digits"]
    of_b = made.each["test_vit on mnist5k"]
    assert [run.status for run in of_b.of("ring")] == ["interrupted", "missing"], "what tells nothing is with the rest"
    assert made.each["test_vit on digits"].labels == ("adamw", "ring")
    assert load_workloads(tmp_path).each.keys() == made.each.keys(), "a folder of them is the same"
    with pytest.raises(UnknownNameError, match="no row of this table"):
        load_workloads(tmp_path, reference="sgd")
    with pytest.raises(GrngError, match="several models or data sets"):
        load_experiment(tmp_path)


def test_one_model_and_data_set_is_one_experiment(tmp_path: Path) -> None:
    make_experiment(tmp_path / "a", SCORES)
    write_run(tmp_path / "b" / "seed5", make_result("ring", 5))
    made = load_workloads([tmp_path / "a", tmp_path / "b"])
    assert not made.several
    assert made.each == {"test_resnet on mnist5k": load_experiment([tmp_path / "a", tmp_path / "b"])}
