"""Real processes that are killed, interrupted and terminated: nothing is lost, nothing is left behind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from grng.runs.result import RunResult
from tests.cli.conftest import Start

WORKLOAD = ("--batch-size", 16, "--dataset", "digits", "--img-size", 32, "--model", "test_vit")
LONG = ("--steps", 250, *WORKLOAD, "--set", "logging.checkpoint_every=10", "--set", "training.eval_every=null")
COMPARE = ("compare", *LONG, "--optimizers", "sgd,adamw", "--seeds", 1, "--output", "x")


def wait_for(condition: Callable[[], object], *, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def workers(directory: Path) -> list[int]:
    """Return the processes that hold the runs of an experiment which have saved something and have not ended."""
    runs = [path.parents[1] for path in directory.glob("*/seed*/checkpoint/last.pt")]
    going_on = [run for run in runs if not (run / "result.json").exists()]
    return [json.loads((run / "claim.lock").read_text())["pid"] for run in going_on]


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def family(running: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(running.pid).children(recursive=True)


@pytest.mark.slow
def test_a_killed_worker_costs_its_run_a_retry(process: Start, workdir: Path) -> None:
    running = process(*COMPARE)
    wait_for(lambda: workers(workdir / "x"))
    victim = workers(workdir / "x")[0]
    os.kill(victim, signal.SIGKILL)
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    assert err.count("the worker died (killed by SIGKILL); trying again") == 1
    results = [RunResult.load(path) for path in (workdir / "x").glob("*/seed0/result.json")]
    assert [(result.status, result.steps) for result in results] == [("finished", 250)] * 2
    (resumed,) = [result for result in results if result.resumed_from_step is not None]
    assert 0 < (resumed.resumed_from_step or 0) < 250
    assert f"{resumed.label} seed 0: resumed from step {resumed.resumed_from_step}" in err
    assert "\nsgd " in out


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
@pytest.mark.slow
def test_a_stopped_comparison_saves_and_goes_on(
    process: Start, workdir: Path, number: signal.Signals, code: int, word: str
) -> None:
    running = process(*COMPARE)
    wait_for(lambda: len(workers(workdir / "x")) == 2)
    children = family(running)
    held = workers(workdir / "x")
    assert {child.pid for child in children} >= set(held)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (code, "")
    said = err[err.index("warning: ") :].splitlines()
    assert said[0] == f"warning: {word}: 0 of 2 runs have ended, the others are saved in x"
    assert said[1].startswith("  go on with: ")
    assert shlex.split(said[1].removeprefix("  go on with: ")) == ["grng", *map(str, COMPARE)]
    assert len(said) == 2
    wait_for(lambda: not any(map(is_alive, children)), seconds=10)
    stored = [RunResult.load(path) for path in (workdir / "x").glob("*/seed0/result.json")]
    assert [result.status for result in stored] == ["interrupted"] * 2

    running = process(*COMPARE)
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    for result in stored:
        resumed = RunResult.load(workdir / "x" / result.label / "seed0" / "result.json")
        assert (resumed.status, resumed.steps, resumed.resumed_from_step) == ("finished", 250, result.steps)
        assert f"{result.label} seed 0: resumed from step {result.steps}" in err


@pytest.mark.slow
def test_a_killed_comparison_leaves_no_workers(process: Start, workdir: Path) -> None:
    running = process(*COMPARE)
    wait_for(lambda: len(workers(workdir / "x")) == 2)
    children = family(running)
    running.kill()
    running.wait()
    wait_for(lambda: not any(map(is_alive, children)), seconds=15)


@pytest.mark.slow
def test_an_interrupt_before_anything_ran(process: Start, workdir: Path) -> None:
    running = process(*COMPARE)
    wait_for(lambda: (workdir / "x" / "experiment.yaml").exists())
    children = family(running)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in err
    assert "go on with: grng compare " in err
    wait_for(lambda: not any(map(is_alive, children)), seconds=10)


def test_an_interrupted_train_goes_on_by_the_line_that_it_prints(process: Start, workdir: Path) -> None:
    running = process("train", *LONG, "--optimizer", "sgd", "--output", "run x", "--threads", 1)
    wait_for(lambda: (workdir / "run x" / "checkpoint" / "last.pt").exists())
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
    line = err.splitlines()[-1]
    assert line == "  go on with: grng train --config 'run x/config.yaml' --output 'run x'"
    stopped = RunResult.load(workdir / "run x" / "result.json")
    assert stopped.status == "interrupted"
    running = process(*shlex.split(line.removeprefix("  go on with: grng ")), "--json")
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 0
    value = json.loads(out)
    assert (value["status"], value["steps"], value["resumed_from_step"]) == ("finished", 250, stopped.steps)


def test_piped_output_holds_no_escape_codes_and_the_module_is_the_command(process: Start, workdir: Path) -> None:
    line = ("compare", "--steps", 2, *WORKLOAD, "--optimizers", "sgd", "--seeds", 1, "--output", "x")
    running = process(*line, TERM="xterm-256color", FORCE_COLOR="")
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert out.startswith("test_vit on digits, seed 0\n\n")
    assert "\x1b" not in out + err
    assert "\r" not in out + err


@pytest.mark.slow
def test_a_second_train_is_refused_and_a_dead_ones_claim_is_taken_over(process: Start, workdir: Path) -> None:
    line = ("train", *LONG, "--optimizer", "sgd", "--output", "x", "--threads", 1)
    first = process(*line)
    wait_for(lambda: (workdir / "x" / "checkpoint" / "last.pt").exists())
    first.send_signal(signal.SIGSTOP)  # else it may be done before the second one has started
    second = process(*line)
    out, err = second.communicate(timeout=120)
    assert (second.returncode, out) == (2, "")
    assert f"error: x: another run is writing here: process {first.pid} on " in err
    assert err.count("error: ") == 1
    assert first.poll() is None, "the first one is left alone"
    first.kill()
    first.wait()
    third = process(*line)
    _, err = third.communicate(timeout=240)
    assert third.returncode == 0, err
    result = RunResult.load(workdir / "x" / "result.json")
    assert (result.status, result.steps) == ("finished", 250)
    assert result.resumed_from_step


@pytest.mark.slow
def test_a_terminated_train_saves_what_it_has(process: Start, workdir: Path) -> None:
    line = ("train", *LONG, "--optimizer", "sgd", "--output", "x", "--threads", 1)
    running = process(*line)
    wait_for(lambda: (workdir / "x" / "checkpoint" / "last.pt").exists())
    running.terminate()
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (143, "")
    assert "warning: terminated: stopped at step " in err
    stopped = RunResult.load(workdir / "x" / "result.json")
    assert (stopped.status, stopped.reason) == ("interrupted", "signal")
    running = process(*line)
    running.communicate(timeout=240)
    assert running.returncode == 0
    assert RunResult.load(workdir / "x" / "result.json").resumed_from_step == stopped.steps
