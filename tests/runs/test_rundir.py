from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from grng.errors import RunDirectoryError
from grng.runs.config import RunConfig, replace
from grng.runs.identity import run_id, short_id
from grng.runs.result import RunResult, Status
from grng.runs.rundir import RunDirectory, RunState

CONFIG = RunConfig.model_validate(
    {
        "dataset": {"name": "mnist5k", "img_size": 32},
        "training": {"target": 0.9},
        "optimizer": {"name": "sgd", "lr": 0.1},
    }
)


def finish(directory: RunDirectory, status: Status) -> None:
    RunResult(
        status=status,
        label="sgd",
        optimizer="sgd",
        hyperparameters={"lr": 0.1},
        model="test_resnet",
        dataset="mnist5k",
        seed=0,
        batch_size=128,
        run_id=run_id(CONFIG),
        created=datetime.now(UTC),
    ).save(directory.result_file)


def contents(path: Path) -> dict[str, Any]:
    return {str(entry.relative_to(path)): entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}


def refused(path: Path, config: RunConfig = CONFIG) -> str:
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory(path).prepare(config)
    return str(caught.value)


def test_layout() -> None:
    directory = RunDirectory(Path("runs/x"))
    names = [
        directory.config_file,
        directory.metrics_file,
        directory.last_checkpoint,
        directory.best_checkpoint,
        directory.result_file,
        directory.claim_file,
    ]
    assert [str(name.relative_to("runs/x")) for name in names] == [
        "config.yaml",
        "metrics.jsonl",
        "checkpoint/last.pt",
        "checkpoint/best.pt",
        "result.json",
        "claim.lock",
    ]


def test_prepare_makes_a_run_of_nothing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "a" / "b")
    assert directory.state() is RunState.ABSENT
    assert directory.prepare(CONFIG) is RunState.ABSENT
    assert directory.config() == CONFIG
    assert directory.state() is RunState.UNFINISHED
    assert directory.prepare(CONFIG) is RunState.UNFINISHED


def test_an_empty_directory_a_stale_lock_and_a_half_written_file_are_empty(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert directory.state() is RunState.EMPTY
    (tmp_path / "claim.lock").touch()
    (tmp_path / ".grng-abc.tmp").touch()
    assert directory.state() is RunState.EMPTY
    assert directory.prepare(CONFIG) is RunState.EMPTY


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("finished", RunState.FINISHED),
        ("diverged", RunState.DIVERGED),
        ("failed", RunState.FAILED),
        ("interrupted", RunState.UNFINISHED),
    ],
)
def test_states_after_a_result(tmp_path: Path, status: Status, state: RunState) -> None:
    directory = RunDirectory(tmp_path)
    directory.prepare(CONFIG)
    finish(directory, status)
    assert directory.state() is state
    result = directory.result()
    assert result is not None
    assert result.status == status


def test_what_does_not_change_the_run_may_differ(tmp_path: Path) -> None:
    RunDirectory(tmp_path).prepare(CONFIG)
    changed = RunConfig.model_validate({**CONFIG.model_dump(mode="json"), "label": "x", "machine": {"threads": 3}})
    assert RunDirectory(tmp_path).prepare(changed) is RunState.UNFINISHED


def test_refuses_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine", encoding="utf-8")
    assert refused(path) == f"{path}: is a file, not a directory. Choose another directory with --output."
    assert refused(path / "run") == (
        f"{path / 'run'}: lies below the file {path}. Choose another directory with --output."
    )
    assert path.read_text(encoding="utf-8") == "mine"


def test_refuses_what_is_not_ours_and_writes_nothing(tmp_path: Path) -> None:
    for name in ("thesis.tex", "a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    before = contents(tmp_path)
    assert RunDirectory(tmp_path).state() is RunState.FOREIGN
    assert refused(tmp_path) == (
        f"{tmp_path}: holds something else (a.txt, b.txt, c.txt, …). Choose another directory with --output."
    )
    assert contents(tmp_path) == before


def test_somebody_elses_config_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("lr: 3\n", encoding="utf-8")
    assert refused(tmp_path) == (
        f"{tmp_path}: holds something else (config.yaml). Choose another directory with --output."
    )


def test_refuses_another_run_and_says_how_it_differs(tmp_path: Path) -> None:
    RunDirectory(tmp_path).prepare(CONFIG)
    before = contents(tmp_path)
    other = replace(CONFIG, seed=7)
    assert refused(tmp_path, other) == (
        f"{tmp_path}: holds another run {short_id(run_id(CONFIG))}: its seed is 0, this one's 7. "
        "Choose another directory with --output."
    )
    assert contents(tmp_path) == before


def test_refuses_a_place_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser may write anywhere, so the system's answer is given by hand.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    path = tmp_path / "a" / "b"
    assert refused(path) == (
        f"{path}: is not writable: {tmp_path} is not. "
        "Choose another directory with --output, or change its permissions."
    )
    assert refused(tmp_path) == (
        f"{tmp_path}: is not writable. Choose another directory with --output, or change its permissions."
    )
    assert not path.parent.exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_refuses_a_place_that_is_really_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "is not writable" in refused(tmp_path / "run")


def test_refuses_a_name_that_is_too_long(tmp_path: Path) -> None:
    assert "the name is too long for the file system." in refused(tmp_path / ("x" * 300))


def test_damaged_result_is_told(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.prepare(CONFIG)
    directory.result_file.write_text("{", encoding="utf-8")
    with pytest.raises(RunDirectoryError, match="is damaged or no result of grng"):
        directory.state()


def test_claims_the_directory(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    with (
        directory.claim(),
        pytest.raises(RunDirectoryError, match="another run is writing here"),
        RunDirectory(tmp_path).claim(),
    ):
        pass
    with directory.claim():
        assert directory.state() is RunState.EMPTY
