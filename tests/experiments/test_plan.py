from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grng.data.registry import dataset_info
from grng.errors import ConfigError, RunDirectoryError
from grng.experiments.compare_config import CompareConfig
from grng.experiments.plan import check_directory, directory_of, identity, plan, rows
from grng.experiments.record import Record
from grng.runs.loading import load_config
from grng.runs.rundir import RunDirectory
from grng.runs.schema import Key


def load(**given: Any) -> CompareConfig:
    overrides = [(key.replace("__", "."), value, f"--{key}") for key, value in given.items()]
    return load_config(CompareConfig, overrides=overrides).config


def test_runs_are_interleaved_seed_by_seed(tmp_path: Path) -> None:
    runs = plan(load(optimizers="adamw,ring[rho=0.1]", seeds="3,5", output=str(tmp_path)))
    assert [(run.label, run.seed) for run in runs] == [
        ("adamw", 3),
        ("ring[rho=0.1]", 3),
        ("adamw", 5),
        ("ring[rho=0.1]", 5),
    ]
    assert [run.directory for run in runs] == [
        tmp_path / "adamw" / "seed3",
        tmp_path / "ring[rho=0.1]" / "seed3",
        tmp_path / "adamw" / "seed5",
        tmp_path / "ring[rho=0.1]" / "seed5",
    ]
    for run in runs:
        assert (run.config.label, run.config.seed) == (run.label, run.seed)
        assert run.config.optimizer.name == run.label.partition("[")[0]
    assert runs[1].config.optimizer.hyperparameters["rho"] == 0.1
    assert "damping" in runs[1].config.optimizer.hyperparameters, "defaults are filled in"


def test_the_settings_reach_the_runs() -> None:
    (run,) = plan(load(optimizers="sgd", seeds=1, training__steps=7, training__batch_size=32, dataset__name="digits"))
    assert (run.config.training.steps, run.config.training.epochs) == (7, None)
    assert run.config.training.batch_size == 32
    assert run.config.training.eval_every == 9
    assert run.config.dataset.name == "digits"
    assert run.config.training.target == dataset_info("digits").target


def test_what_is_asked_of_the_runs_is_no_part_of_the_identity() -> None:
    plain = load(optimizers="sgd,adamw", seeds=2)
    same = [
        load(optimizers="adamw,sgd", seeds="1,0"),
        load(optimizers="sgd,adamw", seeds=2, reference="sgd", workers=1, expect=["sgd.n > 0"], machine__threads=1),
        load(optimizers="sgd,adamw", seeds=2, logging__log_every=1, output="elsewhere"),
    ]
    others = [
        load(optimizers="sgd,adamw", seeds=3),
        load(optimizers="sgd", seeds=2),
        load(optimizers="sgd,adamw[lr=0.5]", seeds=2),
        load(optimizers="sgd,adamw", seeds=2, training__epochs=1),
        load(optimizers="sgd,adamw", seeds=2, training__seconds=5.0),
        load(optimizers="sgd,adamw", seeds=2, training__seconds=6.0),
    ]
    ids = [identity(config, rows(config)) for config in (plain, *same, *others)]
    assert len(set(ids[: 1 + len(same)])) == 1
    assert len(set(ids)) == 1 + len(others)
    assert directory_of(plain, rows(plain)) == Path("runs") / f"compare-{ids[0][:8]}"
    assert directory_of(same[-1], rows(plain)) == Path("elsewhere")


def test_seconds_become_steps_of_each_row() -> None:
    config = load(optimizers="sgd,adamw", seeds=1, training__seconds=5.0)
    runs = plan(config, steps={"sgd": 11, "adamw": 7})
    assert [(run.config.training.steps, run.config.training.epochs) for run in runs] == [(11, None), (7, None)]


def test_every_problem_is_told_once_and_where() -> None:
    def locate(key: Key) -> str:
        return "/".join(map(str, key))

    config = load(optimizers="rign,ring[roh=1],adamw", dataset__name="mnist")
    with pytest.raises(ConfigError) as caught:
        rows(config, locate=locate)
    places = [problem.where for problem in caught.value.problems]
    assert places == ["dataset/name", "optimizers/0/name"]
    with pytest.raises(ConfigError) as caught:
        rows(load(optimizers="ring[roh=1],adamw,sgd[lr=-1]"), locate=locate)
    assert [problem.where for problem in caught.value.problems] == ["optimizers/0/roh", "optimizers/2/lr"]
    assert caught.value.problems[0].hint == "Did you mean 'rho'?"


def experiment(tmp_path: Path, **given: Any) -> list[Any]:
    return plan(load(output=str(tmp_path / "x"), **{"optimizers": "sgd,adamw", "seeds": 1, **given}))


def begin(tmp_path: Path) -> None:
    runs = experiment(tmp_path)
    Record(optimizers=["sgd", "adamw"], seeds=[0], reference="adamw", workers=1).save(tmp_path / "x")
    for run in runs:
        RunDirectory(run.directory).prepare(run.config)


def files(path: Path) -> set[Path]:
    return set(path.rglob("*"))


def test_an_experiment_may_grow_in_its_directory(tmp_path: Path) -> None:
    check_directory(tmp_path / "x", experiment(tmp_path))
    begin(tmp_path)
    before = files(tmp_path)
    for grown in ({}, {"seeds": 3}, {"optimizers": "sgd,adamw,ring"}, {"optimizers": "ring", "training__epochs": 1}):
        check_directory(tmp_path / "x", experiment(tmp_path, **grown))
    assert files(tmp_path) == before


def test_another_experiments_directory_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(RunDirectoryError) as caught:
        check_directory(tmp_path / "x", experiment(tmp_path, training__epochs=1))
    assert caught.value.where == str(tmp_path / "x" / "sgd" / "seed0")
    assert "its training.epochs is 3, this one's 1" in caught.value.message


def test_what_is_no_experiment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    check_directory(tmp_path / "x", experiment(tmp_path))
    (tmp_path / "x" / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match=r"holds something else than an experiment \(thesis\.tex\)"):
        check_directory(tmp_path / "x", experiment(tmp_path))


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(RunDirectoryError, match=r"is a file, not a directory\."):
        check_directory(tmp_path / "x", experiment(tmp_path))
