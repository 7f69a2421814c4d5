from __future__ import annotations

import os
from pathlib import Path

import pytest

from grng.errors import GrngError, UnknownNameError
from grng.report.load import load_experiment
from grng.report.reading import read_chain, read_run
from grng.runs.rundir import RunDirectory
from tests.report.factory import make_experiment, make_result, make_run, place, write_config, write_plan, write_run


def test_an_experiment_keeps_the_plans_order_and_reference(tmp_path: Path) -> None:
    labels = ["sgd", "ring[rho=0.1,damping=0.01]", "adamw", "timm:muon"]
    for label in reversed(labels):
        for seed in (5, 3):
            make_run(tmp_path, label, seed)
    write_plan(tmp_path, labels, [3, 5], reference="sgd", workers=2)
    experiment = load_experiment(tmp_path)
    assert list(experiment.labels) == labels
    assert experiment.seeds == (3, 5)
    assert (experiment.reference, experiment.workers, experiment.warnings) == ("sgd", 2, ())
    assert [(run.label, run.seed) for run in experiment.runs] == [(label, seed) for label in labels for seed in (3, 5)]
    assert {run.status for run in experiment.runs} == {"finished"}
    assert load_experiment([str(tmp_path)]) == experiment


def test_without_a_plan_rows_come_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    for second, label in enumerate(["ring", "sgd", "adamw"]):
        make_run(tmp_path, label, 0, created=f"2025-01-01T00:00:0{second}Z")
    experiment = load_experiment(tmp_path)
    assert experiment.labels == ("ring", "sgd", "adamw")
    assert experiment.reference == "adamw"
    assert load_experiment([place(tmp_path, label, 0) for label in ("ring", "sgd")]).reference == "ring"
    assert load_experiment(tmp_path, reference="sgd").reference == "sgd"


def test_an_unknown_reference_names_the_near_ones(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]})
    with pytest.raises(UnknownNameError, match=r"--reference: the reference 'rong' is no row .* Did you mean 'ring'\?"):
        load_experiment(tmp_path, reference="rong")


def test_one_run_directory_reports_that_run(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.91], "ring": [0.9, 0.92]})
    experiment = load_experiment(place(tmp_path, "ring", 1))
    assert [(run.label, run.seed) for run in experiment.runs] == [("ring", 1)]
    assert experiment.reference == "ring"


def test_what_is_planned_and_not_there_is_missing(tmp_path: Path) -> None:
    make_run(tmp_path, "adamw", 0)
    write_plan(tmp_path, ["adamw", "Ring Å"], [0, 1])
    statuses = {(run.label, run.seed): run.status for run in load_experiment(tmp_path).runs}
    assert statuses == {
        ("adamw", 0): "finished",
        ("adamw", 1): "missing",
        ("Ring Å", 0): "missing",
        ("Ring Å", 1): "missing",
    }
    missing = next(run for run in load_experiment(tmp_path).runs if run.label == "Ring Å")
    assert missing.directory == place(tmp_path, "Ring Å", 0)


def test_what_is_there_and_not_planned_is_left_out_aloud(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.91], "ring": [0.9, 0.92]})
    write_plan(tmp_path, ["adamw"], [0])
    experiment = load_experiment(tmp_path)
    assert [(run.label, run.seed) for run in experiment.runs] == [("adamw", 0)]
    assert experiment.warnings == (
        f"{tmp_path} also holds adamw seed 1, ring seed 0, ring seed 1: not part of this experiment, left out",
    )


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "optimizers: ring\nseeds: 3", "{", "\x00\x01", "optimizers: []\nseeds: []"]
)
def test_a_damaged_plan_is_said_and_the_runs_are_reported(tmp_path: Path, text: str) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]})
    (tmp_path / "experiment.yaml").write_text(text)
    experiment = load_experiment(tmp_path)
    assert experiment.labels == ("adamw", "ring")
    assert experiment.warnings == (
        f"{tmp_path / 'experiment.yaml'} cannot be read; rows and seeds are those of the runs that are there",
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": 1}', b'{"schema_version": 9}'])
def test_a_damaged_result_is_reported_as_corrupt(tmp_path: Path, content: bytes) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]})
    (place(tmp_path, "ring", 0) / "result.json").write_bytes(content)
    experiment = load_experiment(tmp_path)
    run = next(run for run in experiment.runs if run.label == "ring")
    assert (run.status, run.seed, run.result) == ("corrupt", 0, None)
    assert run.problem is not None
    assert str(run.directory / "result.json") in run.problem


def test_a_run_whose_config_is_damaged_too_is_known_by_its_directory(tmp_path: Path) -> None:
    make_run(tmp_path, "Ring Å", 7)
    write_plan(tmp_path, ["Ring Å"], [7])
    directory = place(tmp_path, "Ring Å", 7)
    (directory / "result.json").write_text("{")
    (directory / "config.yaml").write_text("{")
    assert [(run.label, run.seed, run.status) for run in load_experiment(tmp_path).runs] == [("Ring Å", 7, "corrupt")]


def test_a_run_without_a_result_is_interrupted_or_running(tmp_path: Path) -> None:
    directory = place(tmp_path, "ring", 2)
    write_config(directory, "ring", 2)
    assert read_run(directory).status == "interrupted"
    with RunDirectory(directory).claim():
        run = read_run(directory)
        assert (run.label, run.seed, run.status) == ("ring", 2, "running")
    assert read_run(directory).status == "interrupted"
    make_result("ring", 2, status="interrupted", reason="signal").save(directory / "result.json")
    assert read_run(directory).status == "interrupted"
    with RunDirectory(directory).claim():
        assert read_run(directory).status == "running"


def test_a_claim_of_a_process_that_is_gone_is_no_running_run(tmp_path: Path) -> None:
    write_config(tmp_path, "ring", 2)
    for claim in ('{"pid": 4194304999, "host": "here"}', '{"pid": "x"}', "{", "[]"):
        (tmp_path / "claim.lock").write_text(claim)
        assert read_run(tmp_path).status == "interrupted"


def test_torn_and_foreign_lines_of_metrics_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(
        b'{"kind": "epoch", "step": 27, "batches_sha256": "a"}\n'
        b"\xff\xfe batches_sha256\n"
        b'["batches_sha256"]\n'
        b'{"kind": "epoch", "step": 54, "batches_sha256": "b"}\n'
        b'{"kind": "epoch", "step": 81, "batches_sha256": "'
    )
    assert read_chain(tmp_path) == {27: "a", 54: "b"}
    assert read_chain(tmp_path / "absent") == {}


def test_a_path_that_holds_nothing_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("other: program\n")
    with pytest.raises(GrngError, match="holds neither an experiment nor a run") as caught:
        load_experiment(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert caught.value.hint is not None
    assert all(name in caught.value.hint for name in ("experiment.yaml", "result.json", "metrics.jsonl"))
    assert caught.value.exit_code == 2


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GrngError, match="absent: does not exist"):
        load_experiment(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(GrngError, match="file: is not a directory"):
        load_experiment(tmp_path / "file")
    with pytest.raises(GrngError, match="no directory was given"):
        load_experiment([])


def test_different_models_are_not_averaged(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "ring", 0)
    make_run(tmp_path / "b", "ring", 1, model="test_vit")
    with pytest.raises(GrngError, match=r"test_resnet on mnist5k \(in .*\); test_vit on mnist5k \(in .*\)"):
        load_experiment(tmp_path)


def test_configurations_that_share_a_label_become_rows_of_their_own(tmp_path: Path) -> None:
    for index, rho in enumerate([0.1, 0.2]):
        for seed in range(2):
            result = make_result("ring", seed, hyperparameters={"lr": 0.01, "rho": rho})
            write_run(tmp_path / f"{index}" / f"run{seed}", result)
    experiment = load_experiment(tmp_path)
    assert set(experiment.labels) == {"ring[rho=0.1]", "ring[rho=0.2]"}
    assert [len(experiment.of(label)) for label in experiment.labels] == [2, 2]
    assert experiment.warnings == ()
    write_run(tmp_path / "long", make_result("ring", 0, hyperparameters={"lr": 0.01, "rho": 0.2}, epochs=5))
    assert "ring[rho=0.2,epochs=5]" in load_experiment(tmp_path).labels


def test_a_bracketed_label_is_told_apart_within_its_brackets(tmp_path: Path) -> None:
    for batch_size in (64, 128):
        result = make_result("ring[rho=0.1]", 0, batch_size=batch_size)
        write_run(tmp_path / str(batch_size), result)
    assert set(load_experiment(tmp_path).labels) == {"ring[rho=0.1,batch_size=64]", "ring[rho=0.1,batch_size=128]"}


def test_the_same_run_twice_counts_once(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "ring", 0, status="interrupted")
    make_run(tmp_path / "b", "ring", 0)
    experiment = load_experiment(tmp_path)
    assert [run.status for run in experiment.runs] == ["finished"]
    kept, dropped = place(tmp_path / "b", "ring", 0), place(tmp_path / "a", "ring", 0)
    assert experiment.warnings == (f"ring seed 0 is there twice; {dropped} is left out for {kept}",)
    again = load_experiment([kept, kept, tmp_path / "b"])
    assert (len(again.runs), again.warnings) == (1, ())


def test_hidden_folders_and_links_in_circles_are_passed_over(tmp_path: Path) -> None:
    make_run(tmp_path, "ring", 0)
    make_run(tmp_path / ".calibration", "ring", 1)
    (tmp_path / "again").symlink_to(tmp_path)
    assert [run.seed for run in load_experiment(tmp_path).runs] == [0]


def test_a_relative_path_and_the_working_directory_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_experiment(tmp_path / "cmp", {"adamw": [0.9], "ring": [0.9]})
    monkeypatch.chdir(tmp_path)
    assert load_experiment("cmp").labels == load_experiment(os.curdir).labels == ("adamw", "ring")


def test_an_experiment_that_has_not_begun_is_all_missing(tmp_path: Path) -> None:
    write_plan(tmp_path, ["ring", "adamw"], [0, 1])
    assert [run.status for run in load_experiment(tmp_path).runs] == ["missing"] * 4
