"""`grng sweep` end to end, on runs of three steps."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from grng.runs.loading import load_file
from grng.runs.result import RunResult
from tests.cli.conftest import TINY, Call, Ran, Start, call, snapshot
from tests.cli.test_processes import wait_for

LINE = ("sweep", "--optimizer", "adamw", *TINY, "--trials", 3, "--set", "logging.tensorboard=false")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """A sweep of three trials, and what the command said; not to be changed."""
    directory = tmp_path_factory.mktemp("sweep") / "x"
    return directory, call(*LINE, "--workers", 0, "--output", directory)


def test_what_is_said(done: tuple[Path, Ran]) -> None:
    directory, ran = done
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "adamw on digits with test_vit: 3 trials (3 finished), tuning seed 1000000"
    assert lines[-3] == f"trials:      {directory}"
    assert lines[-1] == f"train it:    grng train --config {directory / 'best.yaml'}"
    ended = [line for line in ran.err.splitlines() if line.startswith("[")]
    assert [line.split(" (")[0] for line in ended] == [f"[{count + 1}/3] trial {count}" for count in range(3)]
    assert "\x1b" not in ran.out + ran.err


def test_the_best_config_is_that_of_the_most_accurate_trial(done: tuple[Path, Ran]) -> None:
    directory, _ = done
    results = [RunResult.load(directory / "trials" / f"000{n}" / "seed1000000" / "result.json") for n in range(3)]
    best = max(results, key=lambda result: result.final.val_accuracy or 0.0)
    config = load_file(directory / "best.yaml")
    assert config.optimizer.hyperparameters["lr"] == best.hyperparameters["lr"]
    assert config.training.steps == 3
    assert {result.seed for result in results} == {1_000_000}


def test_the_same_line_again_runs_nothing(done: tuple[Path, Ran]) -> None:
    directory, first = done
    runs = snapshot(directory / "trials" / "0000" / "seed1000000")
    ran = call(*LINE, "--workers", 0, "--output", directory)
    assert (ran.code, ran.out) == (0, first.out)
    assert snapshot(directory / "trials" / "0000" / "seed1000000") == runs


def test_quiet_is_the_path_that_train_takes(done: tuple[Path, Ran], grng: Call) -> None:
    directory, _ = done
    ran = call(*LINE, "--workers", 0, "--output", directory, "--quiet")
    assert (ran.code, ran.out) == (0, f"{directory / 'best.yaml'}\n")
    trained = grng("train", "--config", ran.out.strip(), "--dry-run", "--json")
    assert trained.code == 0, trained.err
    assert json.loads(trained.out)["runs"][0]["label"] == "adamw"


def test_json_is_one_document(done: tuple[Path, Ran]) -> None:
    directory, _ = done
    ran = call(*LINE, "--workers", 0, "--output", directory, "--json")
    value = json.loads(ran.out)
    assert value == json.loads((directory / "sweep.json").read_text())
    assert value["counts"] == {"finished": 3, "pruned": 0, "diverged": 0, "failed": 0, "running": 0}
    assert value["best"]["config"] == str(directory / "best.yaml")


def test_a_map_that_is_asked_for_fits_a_terminal_and_a_file(done: tuple[Path, Ran], tmp_path: Path) -> None:
    directory, first = done
    file = tmp_path / "map.md"
    ran = call(*LINE, "--workers", 0, "--output", directory, "--map", "lr,weight_decay", "--markdown", file)
    assert ran.code == 0, ran.err
    said = "accuracy by lr (columns) and weight_decay (rows), the best trial of each cell"
    lines = ran.out.splitlines()
    assert said not in first.out, "three trials make no map unasked"
    place = lines.index(f"{said}:")
    assert lines[place + 1].split() == ["weight_decay", "\\", "lr", "0.001–0.0055", "0.0055–0.03"]
    table = lines[
        place : lines.index("*: the best; ·: no trial; div: all trials there diverged; (n div): n of them did.")
    ]
    assert max(map(len, table)) <= 80
    cells = [cell for line in table[2:] for cell in line.split()[1:] if line.split()[0][0].isdigit()]
    assert sum(cell != "·" for cell in cells) in (1, 2, 3)
    written = file.read_text()
    assert written.startswith("adamw on digits with test_vit: 3 trials (3 finished), tuning seed 1000000.\n")
    assert f"\n{said}:\n\n| weight\\_decay \\\\ lr |" in written
    document = json.loads(call(*LINE, "--workers", 0, "--output", directory, "--json").out)
    assert [(one["x"]["name"], len(one["points"])) for one in document["maps"]] == [("lr", 3)]


def test_a_dry_run_writes_nothing(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.experiments.estimate.MEASURED_STEPS", 1)
    ran = grng(*LINE, "--tuning-seeds", 2, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    value = json.loads(ran.out)
    assert (value["trials"], value["done"], value["steps"]) == (3, 0, 3)
    assert value["tuning_seeds"] == [1_000_000, 1_000_001]
    assert len({one["lr"] for one in value["values"]}) == 3
    assert not snapshot(workdir)


def test_a_config_of_a_run_and_a_positional_one(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.experiments.estimate.MEASURED_STEPS", 1)
    (workdir / "mine.yaml").write_text("optimizer: {name: ring, rho: 0.1}\nlabel: mine\n")
    ran = grng("sweep", "mine.yaml", *TINY, "--space", "training.warmup=int(0, 2)", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert list(json.loads(ran.out)["space"]) == ["lr", "weight_decay", "training.warmup"]


BAD = [
    ("--optimizer rign", "error: --optimizer: unknown optimizer 'rign'.\n hint: Did you mean 'ring'"),
    ("--optimizer timm:lion", "error: --space: timm:lion has no declared search space.\n hint: Say what to search: "),
    ("--space rhoo=log(1,2)", "error: --space rhoo: ring has no hyperparameter 'rhoo'.\n hint: Did you mean 'rho'"),
    ("--space lr=log(0,1)", "error: --space lr: a logarithmic scale has no 0: 'log(0,1)'."),
    ("--space lr=log(2,1)", "error: --space lr: the lower bound 2 is not below the upper one, 1."),
    ("--space lr=0.1", "error: --space lr: '0.1' is no expression for a search."),
    ("--space step_norm=choice()", "error: --space step_norm: a choice needs values."),
    ("--space momentum=uniform(0.5,1)", "error: --space momentum: momentum must be a number, at least 0 and below 1"),
    ("--space lr", "error: --space lr: must have the form NAME=RANGE."),
    ("--space training.warmup=uniform(0,9)", "error: --space training.warmup: must be a whole number, not 3.339."),
    ("--space lr=null --space rho=null --space weight_decay=null", "nothing is left to search of ring."),
    ("--opt lr=0.1 --space lr=log(1,2)", "error: --space lr: lr is both given (0.1) and searched."),
    ("--trials 0", "error: --trials: must be at least 1, not 0."),
    ("--sampler sobol", "error: --sampler: must be 'qmc', 'random', 'tpe' or 'grid', not 'sobol'."),
    ("--objective acc", "error: --objective: must be 'accuracy', 'loss', 'steps-to-target' or 'time-to-target'"),
    ("--sampler grid", "error: --sampler: a grid needs values, not ranges: lr: log(0.001, 0.01), rho: log(0.001, 1)."),
    (
        "--sampler grid --space lr=null --space rho=null --trials 9",
        "error: --trials: the grid has only 4 combinations.\n hint: Give --trials 4, or leave it out.",
    ),
    ("--tuning-seeds 0", "error: --tuning-seeds: must be at least 1, not 0."),
    ("--output file", "error: file: is a file, not a directory."),
    ("--output thesis", "error: thesis: holds something else than a sweep (thesis.tex)."),
    ("--config bad.yaml", "error: bad.yaml:3 (space.lr): a logarithmic scale has no 0"),
    ("--workers -1", "error: --workers: must be at least 0, not -1."),
    ("--map lr", "error: --map: must be two names, as in lr,damping, not 'lr'."),
    ("--map lr,roh", "error: --map: roh is not searched, so there is no map of it.\n hint: Did you mean 'rho'?"),
    ("--markdown no/such/file.md", "error: no/such/file.md: is in a directory that does not exist."),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
def test_what_a_user_can_get_wrong(grng: Call, workdir: Path, line: str, said: str) -> None:
    (workdir / "file").write_text("mine\n")
    (workdir / "thesis").mkdir()
    (workdir / "thesis" / "thesis.tex").write_text("mine\n")
    (workdir / "bad.yaml").write_text("optimizer: ring\nspace:\n  lr: log(0, 1)\n")
    before = snapshot(workdir)
    ran = grng("sweep", *line.split())
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("error: ") == 1
    assert snapshot(workdir) == before, "nothing is written"


def test_the_seeds_of_tuning_are_no_seeds_of_a_comparison(grng: Call) -> None:
    ran = grng("compare", "--seeds", "0,1000000", "--dry-run")
    assert ran.code == 2
    assert (
        "--seeds: seed 1000000 is one that `grng sweep` tunes with, so no result may come from it: take one below 1,000,000."
        in ran.err
    )


LONG = ("--batch-size", 16, "--dataset", "digits", "--img-size", 32, "--model", "test_vit", "--steps", 16)
SWEEP = ("sweep", "--optimizer", "adamw", *LONG, "--trials", 3, "--output", "x", "--set", "logging.checkpoint_every=2")


def scores(directory: Path) -> list[tuple[float | None, float | None, int | None]]:
    found = [RunResult.load(path) for path in sorted(directory.glob("trials/*/seed*/result.json"))]
    return [(one.hyperparameters["lr"], one.final.val_loss, one.resumed_from_step) for one in found]  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_sweeps_share_the_trials_and_one_that_is_killed_loses_nothing(process: Start, workdir: Path) -> None:
    alone = process(*SWEEP[:-4], "--output", "alone", "--workers", 1, "--threads-per-run", 1)
    assert alone.wait(600) == 0
    victim, other = (process(*SWEEP, "--workers", 1, "--threads-per-run", 1) for _ in range(2))
    wait_for(lambda: list(workdir.glob("x/trials/*/seed*/checkpoint/last.pt")))
    for one in [psutil.Process(victim.pid), *psutil.Process(victim.pid).children(recursive=True)]:
        one.send_signal(signal.SIGKILL)
    out, err = other.communicate(timeout=600)
    assert other.returncode == 0, err
    assert "3 trials (3 finished)" in out
    assert [one[:2] for one in scores(workdir / "x")] == [one[:2] for one in scores(workdir / "alone")]
    log = (workdir / "x" / "trials.log").read_text().splitlines()
    assert sum('"op_code":4' in line for line in log) == 3, "every trial is begun once"


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_saves_and_says_how_to_go_on(process: Start, workdir: Path, number: int, code: int) -> None:
    running = process(*SWEEP, "--workers", 1)
    wait_for(lambda: list(workdir.glob("x/trials/*/seed*/checkpoint/last.pt")))
    os.kill(running.pid, number)
    _, err = running.communicate(timeout=120)
    assert running.returncode == code
    assert " of 3 trials have ended, the others are saved in x\n  go on with: grng sweep --optimizer adamw" in err
    assert "Traceback" not in err
    again = process(*SWEEP, "--workers", 1)
    out, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert "3 trials (3 finished)" in out


@pytest.mark.slow
def test_trials_that_look_bad_end_early_and_the_summary_says_so(tmp_path: Path, grng: Call) -> None:
    directory = tmp_path / "x"
    steps = ("--set", "training.steps=6", "--eval-every", 1, "--set", "space.lr=choice(0.03, 0.000001)")
    line = (*LINE[:3], *TINY, *steps, "--trials", 14, "--pruner", "median", "--workers", 2, "--output", directory)
    ran = grng(*line, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    pruned = [one for one in document["trials"] if one["status"] == "pruned"]
    assert pruned, "a learning rate of nothing is below the median"
    assert document["counts"]["pruned"] == len(pruned)
    assert "were ended early (pruner median)" in ran.err
    for one in pruned:
        (run,) = one["runs"]
        left = RunResult.load(directory / "trials" / f"{one['trial']:04d}" / f"seed{run['seed']}" / "result.json")
        assert left.status == "interrupted"
        assert left.steps < 6
        assert run["reason"].startswith("at step ")
    again = grng(*line, "--json")
    assert json.loads(again.out) == document, "they are not taken up again"
