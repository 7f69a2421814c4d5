"""The index of an experiment's runs: what it saves, and that it is never believed over the files."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from grng.errors import RunDirectoryError
from grng.report.load import load_experiment
from grng.runs import chain, index
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.identity import described, run_id, run_ids
from grng.runs.index import RunIndex
from grng.runs.index_file import FILE
from grng.runs.loading import dump_yaml
from grng.runs.result import RunResult
from tests.report.factory import make_experiment, make_result, make_run, place

COVERAGE = [{"parameter": "head.weight", "preconditioner": "kronecker", "size": 640}]
LABELS = ("adamw", "ring")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "LEAST", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty finished runs that were written a while ago."""
    root = tmp_path_factory.mktemp("made") / "x"
    make_experiment(root, {label: [0.9] * 10 for label in LABELS}, coverage=COVERAGE)
    settle(root)
    return root


@pytest.fixture
def experiment(made: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return shutil.copytree(made, tmp_path / "x")


def settle(root: Path) -> None:
    """Let some time pass since the files were written."""
    then = time.time() - 3600
    for path in root.rglob("*"):
        os.utime(path, (then, then))


@pytest.fixture(autouse=True)
def _no_clock_of_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the time of the last change from the content's, which a test can set."""
    state = index._state

    def settable(path: str) -> tuple[int, int, int, int] | None:
        found = state(path)
        return None if found is None else (found[0], found[1], found[1], found[3])

    monkeypatch.setattr(index, "_state", settable)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which runs' results and metrics are read."""
    seen: list[str] = []
    load, read = RunResult.load.__func__, chain.read_chain  # type: ignore[attr-defined]

    def load_result(cls: type[RunResult], path: Path) -> RunResult:
        seen.append(f"{path.parent.parent.name}/{path.parent.name}")
        found: RunResult = load(cls, path)
        return found

    def read_metrics(path: Path) -> dict[int, str]:
        seen.append(f"{path.parent.parent.name}/{path.parent.name} metrics")
        return read(path)

    monkeypatch.setattr(RunResult, "load", classmethod(load_result))
    monkeypatch.setattr(index, "read_chain", read_metrics)
    return seen


def test_a_second_report_reads_no_run_that_has_not_changed(experiment: Path, reads: list[str]) -> None:
    first = load_experiment(experiment)
    assert len(reads) == 40, "each result and each run's metrics"
    reads.clear()
    again = load_experiment(experiment)
    assert reads == []
    assert again == first, "results, chains and all"
    coverages = [run.result.coverage for run in again.runs if run.result is not None]
    assert coverages == [COVERAGE] * 20
    assert len({id(coverage) for coverage in coverages}) == 1, "kept once for all of them"


def test_what_is_edited_replaced_added_or_deleted_is_seen(experiment: Path, reads: list[str]) -> None:
    load_experiment(experiment)
    reads.clear()
    edited = place(experiment, "ring", 3) / "result.json"
    edited.write_text(edited.read_text().replace('"test_accuracy": 0.9', '"test_accuracy": 0.1'))
    make_run(experiment, "adamw", 4, final={"test_accuracy": 0.2})
    shutil.rmtree(place(experiment, "ring", 7))
    (place(experiment, "adamw", 8) / "metrics.jsonl").write_text("")
    (place(experiment, "adamw", 9) / "result.json").write_text("{")
    runs = {(run.label, run.seed): run for run in load_experiment(experiment).runs}
    scores = {key: run.result.final.test_accuracy for key, run in runs.items() if run.result}
    assert (scores.pop(("ring", 3)), scores.pop(("adamw", 4))) == (0.1, 0.2)
    assert set(scores.values()) == {0.9}
    assert runs["ring", 7].status == "missing"
    assert runs["adamw", 9].status == "corrupt"
    assert runs["adamw", 8].chain == {}
    read = {name.removesuffix(" metrics") for name in reads}
    assert read == {"ring/seed3", "adamw/seed4", "adamw/seed8", "adamw/seed9"}, "and no others are"
    assert '"ring/seed7"' not in (experiment / FILE).read_text(), "a run that is gone is forgotten"


@pytest.mark.parametrize("damage", ["cut", "zeros", "garbage", "another version", "no coverage"])
def test_a_damaged_index_costs_reading_and_nothing_else(experiment: Path, reads: list[str], damage: str) -> None:
    whole = load_experiment(experiment)
    path = experiment / FILE
    data = path.read_bytes()
    lines = data.split(b"\n")
    damaged = {
        "cut": data[: len(data) // 2],
        "zeros": bytes(len(data)),
        "garbage": b"\xff{[" + data[100:],
        "another version": data.replace(b'"schema_version":1', b'"schema_version":2', 1),
        "no coverage": b"\n".join([lines[0], *lines[2:]]),
    }[damage]
    path.write_bytes(damaged)
    reads.clear()
    assert load_experiment(experiment) == whole
    assert reads
    assert path.read_bytes() != damaged, "it is made again"
    reads.clear()
    assert load_experiment(experiment) == whole
    assert reads == []


def test_of_two_writers_the_last_one_wins_and_no_reader_sees_half(experiment: Path, reads: list[str]) -> None:
    ours, theirs = RunIndex(experiment), RunIndex(experiment)
    for label, one in zip(LABELS, (ours, theirs), strict=True):
        for seed in range(10):
            one.result(place(experiment, label, seed))
        one.save()
    names = [json.loads(line).get("path") for line in (experiment / FILE).read_bytes().splitlines()[2:]]
    assert sorted(names) == sorted(f"ring/seed{seed}" for seed in range(10))
    reads.clear()
    load_experiment(experiment)
    assert len([name for name in reads if "metrics" not in name]) == 10, "what the last one did not know is read again"
    assert not list(experiment.glob(".grng-*")), "nothing is left behind"


def test_a_file_that_was_written_a_moment_ago_is_not_kept(experiment: Path) -> None:
    make_run(experiment, "ring", 3, final={"test_accuracy": 0.5})
    load_experiment(experiment)
    text = (experiment / FILE).read_text()
    assert '"ring/seed2"' in text
    assert '"ring/seed3"' not in text, "another change in the same instant would not show"


def test_few_runs_or_a_directory_that_is_not_ours_to_write_get_no_index(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "LEAST", 21)
    load_experiment(experiment)
    assert not (experiment / FILE).exists()
    monkeypatch.setattr(index, "LEAST", 20)

    def refuse(path: Path, data: bytes) -> None:
        raise RunDirectoryError("is not writable", where=str(path))

    monkeypatch.setattr("grng.runs.index_file.atomic_write_bytes", refuse)
    assert len(load_experiment(experiment).runs) == 20


def prepared_run(directory: Path) -> RunConfig:
    """Leave a finished run of a real config, written in the order in which a run writes."""
    config = resolve(RunConfig.model_validate({"dataset": "digits", "model": "test_vit", "optimizer": "sgd"}))
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(dump_yaml(config))
    make_result().model_copy(update=described(config)).save(directory / "result.json")
    then = time.time() - 3600
    os.utime(directory / "config.yaml", (then, then))
    os.utime(directory / "result.json", (then + 60, then + 60))
    return config


def test_a_config_is_read_only_where_it_is_newer_than_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "sgd" / "seed0"
    config = prepared_run(directory)
    with monkeypatch.context() as patched:
        patched.delattr(index, "load_file")
        one = RunIndex(tmp_path)
        assert one.config_id(directory) == run_id(config)
        one.save()
        assert RunIndex(tmp_path).config_id(directory) == run_id(config)
    other = replace(config, seed=5)
    (directory / "config.yaml").write_text(dump_yaml(other))
    assert RunIndex(tmp_path).config_id(directory) == run_id(other) != run_id(config)
    (directory / "config.yaml").write_text("optimizer: [")
    assert RunIndex(tmp_path).config_id(directory) is None
    (directory / "config.yaml").unlink()
    assert RunIndex(tmp_path).config_id(directory) is None


def test_ids_of_many_seeds_are_those_of_each(tmp_path: Path) -> None:
    config = prepared_run(tmp_path / "run")
    assert run_ids(config, [0, 7, 10**6]) == [run_id(replace(config, seed=seed)) for seed in (0, 7, 10**6)]


@pytest.mark.slow
def test_two_thousand_runs_are_the_same_from_their_files_and_from_the_index(tmp_path: Path, reads: list[str]) -> None:
    root = make_experiment(tmp_path / "x", {label: [0.9] * 1000 for label in LABELS}, coverage=COVERAGE)
    settle(root)
    first = load_experiment(root)
    assert len(reads) == 4000
    reads.clear()
    assert load_experiment(root) == first
    assert reads == []
