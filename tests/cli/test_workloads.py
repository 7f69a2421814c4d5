"""Comparisons on several workloads, end to end on runs of two steps, and reports of them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from grng.experiments.estimate import Estimate
from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from tests.cli.conftest import Call, Ran, Start, call, snapshot
from tests.report.factory import make_experiment

SHORT = ("--steps", 2, "--batch-size", 16, "--img-size", 32, "--optimizers", "sgd,adamw", "--seeds", 1)
LINE = ("compare", *SHORT, "--model", "test_vit", "--dataset", "digits,mnist5k", "--workers", 0)
NAMES = ("test_vit-digits", "test_vit-mnist5k")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """A comparison of two optimizers on two workloads, and what the command said; not to be changed."""
    directory = tmp_path_factory.mktemp("workloads") / "x"
    return directory, call(*LINE, "--output", directory)


def results(directory: Path) -> dict[str, RunResult]:
    return {
        str(path.parent.relative_to(directory)): RunResult.load(path) for path in directory.rglob("seed*/result.json")
    }


def test_a_table_of_each_workload_and_one_over_all(experiment: tuple[Path, Ran]) -> None:
    directory, ran = experiment
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    for name, dataset in zip(NAMES, ("digits", "mnist5k"), strict=True):
        assert f"{name}: test_vit on {dataset}, seed 0" in lines
    over = lines.index(f"over 2 workloads: {', '.join(NAMES)}")
    assert any(line.startswith("mean ranks by test accuracy over 2 workloads: ") for line in lines[over:])
    assert [line for line in ran.err.splitlines() if line.startswith("[")][2].startswith(f"[3/4] {NAMES[1]}: ")
    assert f"results:      {directory}" in lines
    assert yaml.safe_load((directory / "workloads.yaml").read_text())["workloads"] == list(NAMES)
    assert results(directory).keys() == {f"{name}/{row}/seed0" for name in NAMES for row in ("sgd", "adamw")}
    assert all((directory / name / "experiment.yaml").is_file() for name in NAMES)


def test_the_same_line_and_a_report_say_the_same_and_touch_nothing(experiment: tuple[Path, Ran]) -> None:
    directory, first = experiment
    before = snapshot(directory)
    again = call(*LINE, "--output", directory)
    assert (again.code, again.out, again.err.count("(reused)")) == (0, first.out, 4)
    reported = call("report", directory)
    assert (reported.code, reported.out) == (0, first.out)
    assert snapshot(directory) == before


def test_each_workload_alone_is_an_experiment_of_its_own(experiment: tuple[Path, Ran]) -> None:
    directory, _ = experiment
    place = directory / NAMES[0]
    before = snapshot(place)
    ran = call(
        "compare",
        *SHORT,
        "--model",
        "test_vit",
        "--dataset",
        "digits",
        "--workers",
        0,
        "--output",
        place,
        "--no-report",
    )
    assert (ran.code, ran.err.count("(reused)")) == (0, 2), ran.err
    assert snapshot(place) == before


def test_one_more_workload_keeps_the_others(
    experiment: tuple[Path, Ran], grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped within the new one; the same line goes on, to what an uninterrupted run gives."""
    from grng.training.session import Session

    shutil.copytree(experiment[0], workdir / "x")
    old = results(workdir / "x")
    more = {"name": "small", "model": "test_vit", "dataset": "digits", "training": {"batch_size": 8}}
    both = [{"model": "test_vit", "dataset": name} for name in ("digits", "mnist5k")]
    Path("more.yaml").write_text(yaml.safe_dump({"workloads": [*both, more], "training": {"batch_size": 16}}))
    line = ("compare", "--config", "more.yaml", *SHORT[:2], *SHORT[4:], "--workers", 0, "--output", "x")
    real = Session.advance

    def advance(session: Session, **given: Any) -> Any:
        if session.config.optimizer.name == "adamw":
            raise KeyboardInterrupt
        return real(session, **given)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "advance", advance)
        stopped = grng(*line)
    assert stopped.code == 130
    assert "5 of 6 runs have ended, the others are saved in x" in stopped.err
    partly = grng("report", "x", "--json")
    assert [one["name"] for one in json.loads(partly.out)["workloads"]] == [*NAMES, "small"]
    ran = grng(*line)
    assert (ran.code, ran.err.count("(reused)")) == (0, 5), ran.err
    found = results(workdir / "x")
    assert len(found) == 6
    assert all(found[key] == result for key, result in old.items())


def test_json_markdown_and_csv_of_several(experiment: tuple[Path, Ran], grng: Call, workdir: Path) -> None:
    directory, _ = experiment
    ran = grng("report", directory, "--json", "--markdown", "x.md", "--csv", "x.csv", "--expect", "sgd.n > 0",
               "--expect", "sgd.test_accuracy > 2", "--claim", "sgd.steps <= adamw.steps")  # fmt: skip
    assert ran.code == 4
    document = json.loads(ran.out)
    assert [one["name"] for one in document["workloads"]] == list(NAMES)
    assert [one["directories"] for one in document["workloads"]] == [[str(directory / name)] for name in NAMES]
    assert [row["label"] for row in document["workloads"][0]["rows"]] == ["sgd", "adamw"]
    assert [one["holds"] for one in document["expectations"]] == [True, False]
    assert document["expectations"][1]["workloads"] == dict.fromkeys(NAMES, False)
    assert document["claims"][0]["workloads"] == dict.fromkeys(NAMES, "undecided")
    assert set(document["profiles"]["steps"]["scores"]) == {"sgd", "adamw"}
    assert document["ranks"]["workloads"] == list(NAMES)
    text = Path("x.md").read_text()
    assert text.startswith("## test\\_vit-digits\n\n| optimizer |")
    assert "\n## Over all workloads\n" in text
    rows = list(csv.DictReader(Path("x.csv").read_text().splitlines()))
    assert [(row["workload"], row["label"]) for row in rows] == [(n, r) for n in NAMES for r in ("sgd", "adamw")]
    shown = grng("report", directory, "--quiet", "--expect", "sgd.n > 0", "--expect", "sgd.test_accuracy > 2")
    assert shown.code == 4
    assert "expected: sgd.n > 0  holds\n  test_vit-digits: holds: sgd.n = 1" in shown.out
    assert "expected: sgd.test_accuracy > 2  DOES NOT HOLD" in shown.out


def test_a_report_of_several_directories_is_one_over_workloads(grng: Call, workdir: Path) -> None:
    make_experiment(workdir / "a", {"adamw": [0.95, 0.96], "ring": [0.97, 0.98]})
    make_experiment(workdir / "b", {"adamw": [0.95, 0.96], "ring": [0.97, 0.98]}, model="test_vit")
    ran = grng("report", "a", "b")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("test_resnet on mnist5k, seeds 0, 1\n")
    assert "over 2 workloads: test_resnet on mnist5k, test_vit on mnist5k\n" in ran.out
    assert "mean ranks by test accuracy over 2 workloads: ring 1.00, adamw 2.00" in ran.out
    alone = json.loads(grng("report", "a", "--json").out)
    assert "workloads" not in alone, "one workload's document stays as it is"


def test_bad_workloads_are_told_before_anything_runs(grng: Call, workdir: Path) -> None:
    for arguments, said in (
        (("--model", "test_vit,test_resnett"), "error: --model: timm has no model 'test_resnett'"),
        (("--dataset", "digits,digits"), "there are two workloads 'test_resnet-digits'"),
        (("--config", "compare/workloads", "--model", "test_vit"), "error: --model: a model for all and workloads"),
        (("--model", "test_vit,test_resnet", "--claim", "sgd.x > 1"), "error: --claim"),
        (("--model", "test_vit,test_resnet", "--expect", "ring.n > 1"), "error: --expect: there is no row 'ring'"),
    ):
        ran = grng("compare", *SHORT, *arguments)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert said in ran.err
    assert not list(workdir.iterdir())
    refused = grng("train", "--model", "test_vit,test_resnet")
    assert refused.code == 2, "train takes one"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates without a step done: what they measure is tested where one workload is."""

    def estimate(config: RunConfig) -> Estimate:
        return Estimate(config.training.steps, 2.0, 1000, None)

    monkeypatch.setattr("grng.experiments.estimate.estimate", estimate)


@pytest.mark.usefixtures("measured")
def test_dry_run_and_smoke_of_several(grng: Call, workdir: Path) -> None:
    ran = grng(*LINE, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert [(run["workload"], run["label"]) for run in document["runs"]] == [
        (name, row) for name in NAMES for row in ("sgd", "adamw")
    ]
    assert document["estimated_seconds"] == 8.0
    smoke = grng("compare", "--config", "compare/workloads", "--smoke", "--optimizers", "sgd", "--dry-run")
    assert smoke.code == 0, smoke.err
    assert "\n4 of 4 runs to do" in smoke.out, "all workloads, one seed"
    assert smoke.out.count(" 12 ") == 4
    assert not list(workdir.iterdir())


@pytest.mark.usefixtures("measured")
def test_plan_of_several(grng: Call, workdir: Path) -> None:
    spread = ("--plan", "--effect", 0.01, "--spread", 0.01)
    ran = grng(*LINE, *spread)
    assert ran.code == 0, ran.err
    document = json.loads(grng(*LINE, *spread, "--json").out)
    assert [one["name"] for one in document["workloads"]] == list(NAMES)
    assert document["seeds"] == max(one["seeds"] for one in document["workloads"])
    assert f"over all workloads: {document['seeds']} seeds" in ran.out
    assert ran.out.count("Nothing was written.") == 2
    assert not list(workdir.iterdir())


@pytest.mark.slow
def test_killed_at_any_time_the_same_line_comes_to_the_same_end(
    experiment: tuple[Path, Ran], process: Start, grng: Call, workdir: Path
) -> None:
    import time

    line = ("compare", "--steps", 40, *SHORT[2:], *LINE[len(SHORT) + 1 : -2], "--workers", 2)
    whole = grng(*line, "--output", "whole")
    assert whole.code == 0, whole.err
    for after in (6.0, 9.0, 12.0):
        running = process(*line, "--output", "x")
        time.sleep(after)
        running.kill()
        running.wait()
    ran = grng(*line, "--output", "x")
    assert ran.code == 0, ran.err
    there, expected = results(workdir / "x"), results(workdir / "whole")
    assert there.keys() == expected.keys()
    for key, result in there.items():
        assert (result.final, result.pairing) == (expected[key].final, expected[key].pairing), key
