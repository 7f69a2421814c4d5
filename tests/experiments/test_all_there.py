"""Comparisons and sweeps whose runs are all there: found out and told, with nothing built, opened or started."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from grng.errors import GrngError
from grng.experiments import machine, preflight
from grng.experiments.compare import compare, prepare
from grng.experiments.compare_config import CompareConfig
from grng.experiments.disk import needed_by_comparisons
from grng.experiments.head_start import all_seem_done, trials_seem_done
from grng.experiments.machine import executor_for
from grng.experiments.plan import plan
from grng.experiments.pool.config import PoolConfig
from grng.experiments.pool.executor import Executor
from grng.experiments.record import Record
from grng.experiments.sweeps.config import SweepConfig
from grng.report.load import load_experiment
from grng.runs.config import RunConfig
from grng.runs.identity import described
from grng.runs.result import RunResult
from grng.runs.rundir import RunDirectory
from tests.cli.conftest import snapshot
from tests.report.factory import make_result


class Called(Exception):
    """What was not to be called was."""


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is a model built nor an executor made."""

    def call(*given: Any, **named: Any) -> Any:
        raise Called

    monkeypatch.setattr(preflight, "check", call)
    monkeypatch.setattr(machine, "started", call)


def comparison(root: Path, **given: Any) -> CompareConfig:
    settings = {"optimizers": "sgd,adamw", "seeds": 2, "model": "test_vit", "dataset": "digits", "output": str(root)}
    return CompareConfig.model_validate({**settings, "workers": 1, **given})


@pytest.fixture
def complete(tmp_path: Path) -> CompareConfig:
    """A comparison all of whose runs have finished or diverged."""
    config = comparison(tmp_path / "x")
    Record(optimizers=["sgd", "adamw"], seeds=[0, 1], reference="adamw", workers=1).save(tmp_path / "x")
    for run in plan(config):
        RunDirectory(run.directory).prepare(run.config)
        status = "diverged" if (run.label, run.seed) == ("sgd", 1) else "finished"
        result = make_result().model_copy(update={**described(run.config), "status": status})
        result.save(run.directory / "result.json")
    return config


@pytest.mark.usefixtures("forbidden")
def test_a_complete_comparison_builds_and_starts_nothing_and_touches_no_run(complete: CompareConfig) -> None:
    root = complete.output or Path()
    before = {name: file for name, file in snapshot(root).items() if "seed" in name}
    prepared = prepare(complete)
    assert prepared.complete
    assert needed_by_comparisons([prepared], root) is None
    done = compare(prepared)
    assert [result.status for result in done.results] == ["finished", "finished", "diverged", "finished"]
    assert {name: file for name, file in snapshot(root).items() if "seed" in name} == before


@pytest.mark.usefixtures("forbidden")
def test_whatever_is_to_be_done_is_checked_before(complete: CompareConfig) -> None:
    with pytest.raises(Called):
        prepare(complete, rerun=True)
    with pytest.raises(Called):
        prepare(comparison(complete.output or Path(), seeds=3))
    with pytest.raises(GrngError, match="holds another run"):
        prepare(comparison(complete.output or Path(), training={"epochs": 1}))
    path = (complete.output or Path()) / "adamw" / "seed1" / "result.json"
    path.write_text(path.read_text().replace('"finished"', '"failed"', 1))
    with pytest.raises(Called):
        prepare(complete)


@pytest.mark.usefixtures("forbidden")
def test_a_device_that_is_not_there_is_refused_all_the_same(complete: CompareConfig) -> None:
    with pytest.raises(GrngError, match=r"(?i)cuda"):
        prepare(comparison(complete.output or Path(), machine={"device": "cuda:99"}))


def test_a_report_reads_no_result_that_the_comparison_has_read(
    complete: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(complete)
    done = compare(prepared)
    monkeypatch.delattr(RunResult, "load")
    experiment = load_experiment(done.directory, indexes={done.directory: prepared.index} if prepared.index else {})
    assert {id(run.result) for run in experiment.runs} == {id(result) for result in done.results}


def test_an_executor_is_made_for_the_first_run_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Pool(Executor):
        def submit(self, config: RunConfig, directory: Path, **given: Any) -> Future[RunResult]:
            said.append(f"run {directory}")
            return Future()

        def stop(self, directory: Path) -> None:
            said.append(f"stop {directory}")

        def shutdown(self, *, cancel: bool = False) -> None:
            said.append(f"shutdown {cancel}")

    def make(*given: Any) -> Executor:
        said.append("made")
        return Pool()

    monkeypatch.setattr(machine, "started", make)
    with executor_for((), PoolConfig()):
        pass
    assert said == []
    pool = executor_for((), PoolConfig())
    pool.stop(Path("a"))
    for name in ("a", "b"):
        pool.submit(RunConfig(), Path(name))
    pool.stop(Path("b"))
    pool.shutdown(cancel=True)
    assert said == ["made", "run a", "run b", "stop b", "shutdown True"]


def test_runs_seem_done_by_the_heads_of_their_results(
    complete: CompareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all_seem_done(complete)
    assert not all_seem_done(comparison(tmp_path / "y"))
    assert not all_seem_done(comparison(tmp_path / "x", seeds=3))
    monkeypatch.chdir(tmp_path)
    assert not all_seem_done(comparison(tmp_path / "x", output=None))
    (tmp_path / "runs").mkdir()
    (tmp_path / "x").rename(tmp_path / "runs" / "compare-01234567")
    assert all_seem_done(comparison(tmp_path / "x", output=None)), "its directory is not known yet"
    several = {"workloads": [{"model": "test_vit", "dataset": "digits"}, {"model": "test_resnet", "dataset": "digits"}]}
    settings = {"optimizers": "sgd,adamw", "seeds": 2, "output": str(tmp_path / "both")}
    both = CompareConfig.model_validate({**settings, **several})
    (tmp_path / "both").mkdir()
    (tmp_path / "runs" / "compare-01234567").rename(tmp_path / "both" / "test_vit-digits")
    assert not all_seem_done(both)
    (tmp_path / "both" / "test_resnet-digits").symlink_to(tmp_path / "both" / "test_vit-digits")
    assert all_seem_done(both)
    path = tmp_path / "both" / "test_vit-digits" / "sgd" / "seed0" / "result.json"
    path.write_text(path.read_text().replace('"finished"', '"interrupted"', 1))
    assert not all_seem_done(both)


def test_trials_seem_done_by_the_summary(tmp_path: Path) -> None:
    counts = {"finished": 3, "diverged": 1, "failed": 0, "running": 0}
    config = SweepConfig.model_validate({"optimizer": "sgd", "trials": 4, "output": str(tmp_path)})
    assert not trials_seem_done(config)
    (tmp_path / "sweep.json").write_text(json.dumps({"counts": counts}))
    assert not trials_seem_done(config), "there is no journal"
    (tmp_path / "trials.log").touch()
    assert trials_seem_done(config)
    assert not trials_seem_done(SweepConfig.model_validate({"optimizer": "sgd", "trials": 5, "output": str(tmp_path)}))
    (tmp_path / "sweep.json").write_text(json.dumps({"counts": {**counts, "running": 1}}))
    assert not trials_seem_done(config)
