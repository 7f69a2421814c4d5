"""`grng compare --tune` end to end, on runs of three steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from grng.runs.result import RunResult
from tests.cli.conftest import TINY, Call, Ran, Start, call, snapshot
from tests.cli.test_processes import wait_for

LINE = (
    "compare",
    *TINY,
    "--optimizers",
    "sgd,adamw",
    "--seeds",
    1,
    "--workers",
    0,
    "--set",
    "logging.tensorboard=false",
)
TUNED = (*LINE, "--tune", 2, "--target", "tuned")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """A comparison of two rows with two trials each, and what the command said; not to be changed."""
    directory = tmp_path_factory.mktemp("tuned") / "x"
    return directory, call(*TUNED, "--output", directory)


def test_what_is_said(done: tuple[Path, Ran]) -> None:
    directory, ran = done
    assert ran.code == 0, ran.err
    said = ran.err.splitlines()
    trials = [line.split(" (")[0] for line in said if ": trial " in line]
    assert trials == [f"tuning {name}: trial {count} of 2" for name in ("sgd", "adamw") for count in (1, 2)]
    assert [line.split(":")[0] for line in said if line.startswith("[")] == ["[1/2] sgd seed 0", "[2/2] adamw seed 0"]
    record = yaml.safe_load((directory / "experiment.yaml").read_text())
    assert record["tune"] == {"trials": 2, "sampler": "qmc", "objective": "accuracy", "tuning_seeds": 1, "seed": 0}
    for name in ("sgd", "adamw"):
        best = json.loads((directory / "tuning" / name / "sweep.json").read_text())["best"]["values"]
        config = yaml.safe_load((directory / name / "seed0" / "config.yaml").read_text())
        assert best.items() <= config["optimizer"].items()
        assert record["tuning"][name]["values"] == best
        assert f"lr={best['lr']:.6g}" in ran.out
    notes = [line for line in ran.out.splitlines() if line.startswith("note: tuned")]
    assert notes == ["note: tuned: 2 trials each (quasi-random, validation accuracy, 1 tuning seed a trial)"]
    assert "adamw " in ran.out
    assert "(1 seed, 2 trials each)" in ran.out
    assert "k = 1" in ran.out  # the heading beside it may be wrapped
    assert "k = 2" in ran.out
    assert "\x1b" not in ran.out + ran.err
    trial = json.loads((directory / "tuning" / "adamw" / "sweep.json").read_text())["best"]["val_accuracy"]
    assert config["training"]["target"] == trial, "the reference's"


def test_the_same_line_again_runs_nothing_and_a_report_says_the_same(done: tuple[Path, Ran]) -> None:
    directory, first = done
    before = snapshot(directory)
    ran = call(*TUNED, "--output", directory)
    assert (ran.code, ran.out) == (0, first.out)
    assert ran.err.count("all 2 trials are there (reused)") == 2
    assert snapshot(directory) == before
    assert call("report", directory).out == first.out
    quiet = call(*TUNED, "--output", directory, "--quiet")
    assert (quiet.out.count("\n"), quiet.err.count("tuning")) == (
        first.out[: first.out.index("\ntest acc")].count("\n") - 2,
        0,
    )


def test_json_is_one_document(done: tuple[Path, Ran], workdir: Path) -> None:
    directory, _ = done
    ran = call("report", directory, "--json", "--markdown", "x.md")
    document = json.loads(ran.out)
    assert document["tuning"]["sgd"]["trials"] == 2
    assert [(curve["label"], curve["trials"]) for curve in document["tuning_curves"]] == [("sgd", 2), ("adamw", 2)]
    assert "| best validation accuracy of k trials |" in (workdir / "x.md").read_text()


def test_what_is_ahead_is_counted_and_nothing_is_written(
    grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grng.experiments.estimate.MEASURED_STEPS", 1)
    dry = json.loads(grng(*TUNED, "--tuning-seeds", 3, "--dry-run", "--json").out)
    assert [(row["label"], row["trials"], row["done"], row["runs"]) for row in dry["tuning"]] == [
        ("sgd", 2, 0, 6),
        ("adamw", 2, 0, 6),
    ]
    one = sum(run["estimated_seconds"] for run in dry["runs"])
    assert dry["estimated_seconds"] == pytest.approx(7 * one, rel=0.1)
    plan = grng(*TUNED, "--plan", "--effect", 0.01, "--spread", 0.01)
    assert "11 seeds find" in plan.out
    assert "22 runs and once 4 of trials (" in plan.out
    assert not snapshot(workdir)


BAD: list[tuple[tuple[Any, ...], str]] = [
    (("--tune", 0), "--tune: must be at least 1, not 0."),
    (("--tuning-seeds", 2), "--tuning-seeds: belongs to a number of trials that each row gets: --tune N, tune.trials."),
    (("--tune", 2, "--tuning-seeds", 0), "--tuning-seeds: must be at least 1, not 0."),
    (("--tune", 2, "--seeds", "0,1000000"), "--seeds: seed 1000000 is one that `grng sweep` tunes with"),
    (("--tune", 2, "--set", "tune.sampler=sobol"), "--set tune.sampler: must be 'qmc', 'random', 'tpe' or 'grid'"),
    (("--tune", 2, "--set", "tune.objective=acuracy"), "Did you mean 'accuracy'?"),
    (("--tune", 2, "--set", "tune.spaces.adamv.lr=log(1,2)"), "no row that is tuned is 'adamv'.\n hint: Did you mean"),
    (("--target", "tunde"), "--target: must be a validation accuracy above 0 and at most 1, or the word `tuned`, not"),
    (("--target", 2), "--target: must be a validation accuracy above 0 and at most 1, or the word `tuned`, not 2."),
    (("--target", "tuned"), "--target: `tuned` needs a tuning of the reference adamw, and there is none.\n hint: Add"),
    (("--tune", 2, "--optimizers", "timm:lion"), "--optimizers timm:lion: timm:lion has no declared search space, so"),
    (("--tune", 2, "--optimizers", "rign"), "unknown optimizer 'rign'"),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=[" ".join(map(str, one)) for one, _ in BAD])
def test_what_a_user_can_get_wrong(grng: Call, workdir: Path, options: tuple[Any, ...], said: str) -> None:
    kept = LINE if not {"--seeds", "--optimizers"} & set(options) else ("compare", *TINY, "--workers", 0)
    ran = grng(*kept, *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("error: ") == 1
    assert not snapshot(workdir), "nothing is written"


LONG = (
    *("compare", "--batch-size", 16, "--dataset", "digits", "--img-size", 32, "--model", "test_vit", "--steps", 16),
    *("--optimizers", "sgd,adamw", "--seeds", 1, "--tune", 2, "--workers", 1, "--threads-per-run", 1),
    *("--set", "logging.checkpoint_every=2"),
)


def kill(running: subprocess.Popen[str]) -> None:
    for one in [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]:
        one.send_signal(signal.SIGKILL)
    running.wait(60)


def outcome(directory: Path) -> dict[str, Any]:
    runs = {str(path.parent.relative_to(directory)): path for path in directory.glob("**/result.json")}
    return {
        name: (found := RunResult.load(path)).final.model_dump() | found.hyperparameters for name, path in runs.items()
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_comparison_that_is_killed_twice_ends_with_the_same_table(process: Start, workdir: Path) -> None:
    straight = process(*LONG, "--output", "straight")
    assert straight.wait(600) == 0
    for place in ("x/tuning/*/trials/*/seed*", "x/*/seed*"):  # while it tunes, and while it reports
        running = process(*LONG, "--output", "x")
        wait_for(lambda place=place: list(workdir.glob(f"{place}/checkpoint/last.pt")), seconds=400)  # type: ignore[misc]
        kill(running)
    last = process(*LONG, "--output", "x")
    out, err = last.communicate(timeout=600)
    assert last.returncode == 0, err
    assert err.count("all 2 trials are there (reused)") == 2
    assert outcome(workdir / "x") == outcome(workdir / "straight")
    assert len(outcome(workdir / "x")) == 6
    assert "note: tuned: 2 trials each" in out


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_while_tuning_says_how_to_go_on(process: Start, workdir: Path, number: int, code: int) -> None:
    running = process(*LONG, "--output", "x")
    wait_for(lambda: list(workdir.glob("x/tuning/*/trials/*/seed*/checkpoint/last.pt")), seconds=400)
    os.kill(running.pid, number)
    _, err = running.communicate(timeout=120)
    assert running.returncode == code
    assert " of 4 trials have ended, the others are saved in x\n  go on with: grng compare --batch-size 16" in err
    assert "Traceback" not in err
