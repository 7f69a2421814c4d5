"""`grng compare` and `grng report` end to end, on real worker processes and runs of three steps."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from grng.runs.result import RunResult
from tests.cli.conftest import TINY, Call, Ran, call, snapshot

OPTIMIZERS = ("sgd", "adamw", "ring")
LINE = ("compare", *TINY, "--optimizers", "sgd,adamw,ring", "--seeds", 2)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """A comparison of three optimizers with two seeds, and what the command said; not to be changed."""
    directory = tmp_path_factory.mktemp("compare") / "x"
    return directory, call(*LINE, "--output", directory)


@pytest.fixture
def copy(experiment: tuple[Path, Ran], workdir: Path) -> Path:
    """A copy of the experiment, to be changed; times of files are kept."""
    return Path(shutil.copytree(experiment[0], workdir / "x"))


def results(directory: Path) -> dict[tuple[str, int], RunResult]:
    loaded = [RunResult.load(path) for path in directory.glob("*/seed*/result.json")]
    return {(result.label, result.seed): result for result in loaded}


def changed(before: dict[str, Any], directory: Path) -> set[str]:
    """Return the files that are other than `before`, locks, the page of the report and TensorBoard's overview aside."""
    after = snapshot(directory)
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    made_of_runs = ("claim.lock", "report.html")
    return {name for name in names if not name.endswith(made_of_runs) and not name.startswith("@summary/")}


def test_the_table_and_all_that_belongs_to_it(experiment: tuple[Path, Ran]) -> None:
    directory, ran = experiment
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "test_vit on digits, seeds 0, 1"
    for name in OPTIMIZERS:
        scores = [
            result.final.test_accuracy or 0.0 for (label, _), result in results(directory).items() if label == name
        ]
        mean = f"{sum(scores) / 2:.3f}"
        rows = [line for line in lines if line.startswith(f"{name} ")]
        assert len(rows) >= 3, "a row in every block, and the lines to quote"
        assert mean in rows[0]
        assert any(line.startswith(f"test accuracy: {name} {mean}") for line in lines)
        assert f"{name} never reached the target (0.9 validation accuracy) in 2 runs" in lines
    assert "not distinguishable with n = 2" in ran.out
    assert f"TensorBoard:  tensorboard --logdir {directory}" in lines
    assert max(map(len, lines[: lines.index("")])) <= 120
    assert not [line for line in lines if line.endswith(" ")]
    assert "\x1b" not in ran.out + ran.err


def test_progress_is_a_line_a_run(experiment: tuple[Path, Ran]) -> None:
    ended = [line for line in experiment[1].err.splitlines() if line.startswith("[")]
    assert [line.split("]")[0] for line in ended] == [f"[{count}/6" for count in range(1, 7)]
    named = {line.split("] ")[1].split(":")[0] for line in ended}
    assert named == {f"{name} seed {seed}" for name in OPTIMIZERS for seed in range(2)}
    assert all("test accuracy 0." in line and "3 steps in" in line for line in ended)


def test_what_is_on_disk(experiment: tuple[Path, Ran]) -> None:
    directory, _ = experiment
    record = yaml.safe_load((directory / "experiment.yaml").read_text())
    assert record["optimizers"] == list(OPTIMIZERS)
    assert (record["seeds"], record["reference"], record["calibrations"]) == ([0, 1], "adamw", {})
    found = results(directory)
    assert found.keys() == {(name, seed) for name in OPTIMIZERS for seed in range(2)}
    for (name, seed), result in found.items():
        assert (result.status, result.steps, result.dataset, result.model) == ("finished", 3, "digits", "test_vit")
        place = directory / name / f"seed{seed}"
        assert len(list(place.glob("events.out.tfevents.*"))) == 1
        assert (place / "metrics.jsonl").read_text().count("\n") >= 2
        assert (place / "checkpoint" / "last.pt").exists()
        assert yaml.safe_load((place / "config.yaml").read_text())["optimizer"]["name"] == name
    for seed in range(2):
        pairs = {
            (found[name, seed].pairing.init_sha256, found[name, seed].pairing.batches_sha256) for name in OPTIMIZERS
        }
        assert len(pairs) == 1, "the same weights and batches for all"


def test_the_same_line_again_runs_nothing_and_touches_nothing(experiment: tuple[Path, Ran]) -> None:
    directory, first = experiment
    before = snapshot(directory)
    ran = call(*LINE, "--output", directory)
    assert ran.code == 0
    assert snapshot(directory) == before
    assert ran.err.count("(reused)") == 6
    assert ran.out == first.out


def test_what_is_asked_of_the_runs_reuses_them(copy: Path, grng: Call) -> None:
    before = snapshot(copy)
    ran = grng(*LINE, "--output", copy, "--reference", "sgd", "--workers", 1, "--expect", "ring.n == 2")
    assert ran.code == 2, "== is no comparison of the grammar"
    ran = grng(*LINE, "--output", copy, "--reference", "sgd", "--workers", 1, "--expect", "ring.n >= 2")
    assert ran.code == 0, ran.err
    assert changed(before, copy) == {"experiment.yaml"}, "which keeps the reference that was asked for"
    workers = [
        yaml.safe_load(text)["workers"]
        for text in (before["experiment.yaml"][0], (copy / "experiment.yaml").read_text())
    ]
    assert workers[0] == workers[1], "how the runs were done does not change by looking at them"
    assert "against sgd" in ran.out


def test_more_seeds_and_optimizers_reuse_the_rest(copy: Path, grng: Call) -> None:
    before = snapshot(copy)
    ran = grng("compare", *TINY, "--optimizers", "sgd,adamw,ring,adamw[lr=0.01]", "--seeds", 3, "--output", copy)
    assert ran.code == 0, ran.err
    assert ran.err.count("(reused)") == 6
    assert "[12/12] " in ran.err
    assert all(
        "seed2" in name or "adamw[lr=0.01]" in name or name == "experiment.yaml" for name in changed(before, copy)
    )
    assert results(copy).keys() == {(name, seed) for name in (*OPTIMIZERS, "adamw[lr=0.01]") for seed in range(3)}


def test_a_run_that_was_taken_away_is_done_again(copy: Path, grng: Call) -> None:
    shutil.rmtree(copy / "ring" / "seed1")
    before = snapshot(copy)
    ran = grng(*LINE, "--output", copy)
    assert ran.code == 0
    assert ran.err.count("(reused)") == 5
    assert {name.rpartition("seed")[0] for name in changed(before, copy)} == {"ring/"}


def test_rerun_does_all_again(copy: Path, grng: Call) -> None:
    before = results(copy)
    assert grng(*LINE, "--output", copy, "--rerun", "--quiet").code == 0
    after = results(copy)
    assert after.keys() == before.keys()
    for key, result in after.items():
        assert result.created > before[key].created
        assert result.final == before[key].final, "the same seed gives the same losses"


def test_another_experiments_directory_is_refused(copy: Path, grng: Call) -> None:
    before = snapshot(copy)
    ran = grng(*LINE, "--output", copy, "--batch-size", 8)
    assert (ran.code, ran.out) == (2, "")
    assert "holds another run" in ran.err
    assert "its training.batch_size is 16, this one's 8" in ran.err
    assert snapshot(copy) == before


def test_report_prints_the_same_table(experiment: tuple[Path, Ran]) -> None:
    directory, first = experiment
    before = snapshot(directory)
    ran = call("report", directory)
    assert (ran.code, ran.out, ran.err) == (0, first.out, "")
    assert snapshot(directory) == before


def test_json_is_one_document_and_alone(experiment: tuple[Path, Ran]) -> None:
    directory, _ = experiment
    compared = call(*LINE, "--output", directory, "--json", "--expect", "ring.n > 1", "--expect", "sgd.reached > 0")
    assert compared.code == 4
    value = json.loads(compared.out)
    assert [row["label"] for row in value["rows"]] == list(OPTIMIZERS)
    assert [expectation["holds"] for expectation in value["expectations"]] == [True, False]
    assert value["directories"] == [str(directory)]
    reported = json.loads(call("report", directory, "--json").out)
    assert reported["rows"] == value["rows"]


def test_quiet_is_the_table_alone(experiment: tuple[Path, Ran]) -> None:
    directory, first = experiment
    ran = call(*LINE, "--output", directory, "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out in first.out
    assert ran.out.startswith(" ")
    assert "test accuracy: " not in ran.out


def test_files_for_documents(experiment: tuple[Path, Ran], grng: Call, workdir: Path) -> None:
    directory, _ = experiment
    ran = grng("report", directory, "--markdown", "table.md", "--csv", workdir / "table.csv", "--quiet")
    assert ran.code == 0
    assert (workdir / "table.md").read_text().startswith("| optimizer | runs |")
    rows = list(csv.DictReader((workdir / "table.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == list(OPTIMIZERS)
    assert float(rows[2]["test_accuracy"]) == pytest.approx(
        sum(result.final.test_accuracy or 0.0 for (name, _), result in results(directory).items() if name == "ring") / 2
    )


def test_an_expectation_that_does_not_hold_is_4_with_the_values(experiment: tuple[Path, Ran]) -> None:
    directory, _ = experiment
    value = results(directory)
    mean = sum(value["ring", seed].final.test_accuracy or 0.0 for seed in range(2)) / 2
    for command in (("report", directory), (*LINE, "--output", directory)):
        ran = call(*command, "--expect", "ring.test_accuracy > 0.999", "--expect", "ring.n >= 2")
        assert ran.code == 4
        assert "expected: ring.test_accuracy > 0.999  DOES NOT HOLD\n" in ran.out
        assert f"ring.test_accuracy = {mean:.4f}" in ran.out
        assert "expected: ring.n >= 2  holds\n" in ran.out


def test_other_rows_of_a_report(experiment: tuple[Path, Ran]) -> None:
    directory, _ = experiment
    ran = call("report", directory, "--reference", "ring")
    assert "against ring" in ran.out
    for bad, said in (
        (("--reference", "rign"), "error: --reference: the reference 'rign' is no row of this table\n hint: Did you"),
        (("--expect", "rign.n > 0"), "error: --expect: there is no row 'rign'"),
    ):
        ran = call("report", directory, *bad)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith(said)


def test_a_diverged_run_is_a_result(grng: Call, workdir: Path) -> None:
    line = ("compare", *TINY, "--optimizers", "sgd[lr=1e30],adamw", "--seeds", 1, "--output", "x")
    ran = grng(*line)
    assert ran.code == 0, ran.err
    assert "sgd[lr=1e30] seed 0: diverged at step " in ran.err
    assert "0, 1 diverged" in ran.out
    again = grng(*line)
    assert (again.code, again.err.count("(reused)")) == (0, 2), "a diverged run is not done again"


def test_a_run_that_fails_is_1_and_the_others_are_reported(
    grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grng.training.session import Session

    real = Session.advance

    def advance(session: Session, **given: Any) -> Any:
        if session.config.optimizer.name == "ring":
            raise RuntimeError("the matrix fell apart")
        return real(session, **given)

    line = ("compare", *TINY, "--optimizers", "ring,sgd", "--seeds", 1, "--output", "x", "--workers", 0)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "advance", advance)
        ran = grng(*line)
    assert ran.code == 1
    assert "[1/2] ring seed 0: failed (crash): RuntimeError: the matrix fell apart\n" in ran.err
    assert "\nsgd " in ran.out
    assert "0, 1 failed" in ran.out
    mended = grng(*line)
    assert mended.code == 0, "a failed run is tried again"
    assert mended.err.count("(reused)") == 1


def test_in_this_process(grng: Call, workdir: Path) -> None:
    ran = grng("compare", *TINY, "--optimizers", "sgd,adamw", "--seeds", 1, "--output", "x", "--workers", 0)
    assert ran.code == 0, ran.err
    assert results(workdir / "x").keys() == {("sgd", 0), ("adamw", 0)}


def test_without_output_it_goes_below_runs(grng: Call, workdir: Path) -> None:
    line = ("compare", *TINY, "--optimizers", "sgd", "--seeds", 1, "--workers", 0)
    assert grng(*line).code == 0
    (directory,) = (workdir / "runs").iterdir()
    assert directory.name.startswith("compare-")
    before = snapshot(directory)
    assert grng(*line, "--workers", 1, "--expect", "sgd.n > 0", "--reference", "sgd").code == 0
    assert list((workdir / "runs").iterdir()) == [directory], "what is asked is no part of the experiment's identity"
    assert snapshot(directory) == before


def test_dry_run_writes_nothing(copy: Path, grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.experiments.estimate.MEASURED_STEPS", 1)
    shutil.rmtree(copy / "ring" / "seed1")
    before = snapshot(workdir)
    ran = grng(*LINE, "--output", "x", "--dry-run")
    assert ran.code == 0
    assert snapshot(workdir) == before
    assert "\n1 of 6 runs to do" in ran.out
    assert ran.out.endswith(" Nothing was written.\n")
    assert ran.out.count("done") == 5
    document = json.loads(grng(*LINE, "--output", "new", "--dry-run", "--json").out)
    assert [(run["label"], run["seed"]) for run in document["runs"]] == [
        (name, seed) for seed in range(2) for name in OPTIMIZERS
    ], "interleaved seed by seed"
    assert not any(run["done"] for run in document["runs"])
    assert snapshot(workdir) == before


def test_a_budget_in_seconds_is_measured_once(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.training.calibrate.DEFAULT_STEPS", 3)
    workload = [part for part in TINY if part not in ("--steps", 3)]
    line = (
        "compare",
        *workload,
        "--optimizers",
        "sgd",
        "--seeds",
        1,
        "--seconds",
        0.2,
        "--output",
        "x",
        "--workers",
        0,
    )
    dry = grng(*line, "--dry-run")
    assert dry.code == 0, dry.err
    assert not list(workdir.iterdir())
    ran = grng(*line)
    assert ran.code == 0, ran.err
    record = yaml.safe_load(Path("x/experiment.yaml").read_text())["calibrations"]
    measured = record["sgd"]
    assert measured["seconds"] == 0.2
    assert measured["steps"] == max(1, round(200 / measured["step_ms"]))
    assert f"sgd: {measured['step_ms']:.4g} ms a step, {measured['steps']} steps in 0.2 s" in ran.err
    assert results(workdir / "x")["sgd", 0].steps == measured["steps"]
    before = snapshot(workdir)
    again = grng(*line)
    assert (again.code, again.err.count("(reused)")) == (0, 1)
    assert "ms a step" not in again.err
    assert snapshot(workdir) == before
    grown = [part if part != "sgd" else "adamw" for part in line]
    assert grng(*grown).code == 0
    after = yaml.safe_load(Path("x/experiment.yaml").read_text())["calibrations"]
    assert after["sgd"] == measured, "kept for the line that names sgd again"
    assert after.keys() == {"sgd", "adamw"}
