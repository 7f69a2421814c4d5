"""`grng train` in several processes: what is refused, and real processes that are started, stopped, killed and resumed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from grng.runs.result import RunResult
from tests.cli.conftest import TINY, Call, Start, snapshot
from tests.cli.test_processes import LONG, family, is_alive, wait_for
from tests.training.helpers import checkpoint, difference

TWO = ("--processes", 2, "--threads", 1, "--device", "cpu", "--optimizer", "adamw", "--output", "x")
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29599"}


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("--processes", 0), {}, "--processes: "),
        (("--processes", 17), {}, "--processes: 17 processes cannot share a batch of 16 samples."),
        (("--processes", 2, "--device", "mps"), {}, "machine.device|--device"),
        (("--processes", 2), TORCHRUN, "--processes: torchrun has started 2 processes already."),
        ((), {**TORCHRUN, "WORLD_SIZE": "17"}, "machine.processes: 17 processes cannot share a batch of 16 samples."),
        ((), {"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not"),
        (("--set", "machine.processes=4"), TORCHRUN, "4 processes are asked for, and 2 were started."),
        (("--processes", 2, "--set", "machine.sync_batchnorm=maybe"), {}, "machine.sync_batchnorm"),
    ],
)
def test_bad_input_is_one_message(
    arguments: tuple[object, ...],
    environment: dict[str, str],
    said: str,
    grng: Call,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = grng("train", *TINY, *arguments, "--output", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("error: ") == 1
    assert any(part in ran.err for part in said.split("|"))
    assert snapshot(workdir) == {}


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("--set", "machine.processes=2"), {}, "a comparison does not share a run out over processes."),
        ((), TORCHRUN, "grng compare starts its own processes, and torchrun has started 2 of it."),
    ],
)
def test_a_comparison_is_not_shared_out(
    arguments: tuple[object, ...],
    environment: dict[str, str],
    said: str,
    grng: Call,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = grng("compare", *TINY, "--optimizers", "sgd", "--seeds", 1, *arguments, "--output", "x")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert snapshot(workdir) == {}


# --- real processes


def trains(directory: Path) -> bool:
    return (directory / "checkpoint" / "last.pt").exists()


def leader(directory: Path) -> psutil.Process:
    return psutil.Process(json.loads((directory / "claim.lock").read_text())["pid"])


def follower(running: subprocess.Popen[str], directory: Path) -> psutil.Process:
    """Return the process beside the leader: the other child of the fork server."""
    first = leader(directory)
    siblings = [child for child in psutil.Process(first.ppid()).children() if child.pid != first.pid]
    return siblings[0]


@pytest.mark.slow
def test_two_processes_do_one_run(process: Start, workdir: Path) -> None:
    running = process("train", *TINY, *TWO, "--json")
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    value = json.loads(out)
    assert (value["status"], value["world_size"], value["steps"]) == ("finished", 2, 3)
    assert value == json.loads((workdir / "x" / "result.json").read_text())
    lines = (workdir / "x" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if json.loads(line)["kind"] == "step"] == [1, 3]
    assert len(list((workdir / "x").glob("events.out.tfevents.*"))) == 1
    running = process("train", *TINY, *TWO)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "test accuracy" in out
    assert value == json.loads((workdir / "x" / "result.json").read_text())


@pytest.mark.slow
def test_torchrun_does_the_same(process: Start, workdir: Path) -> None:
    one = process("train", *TINY, *TWO, "--quiet")
    _, err = one.communicate(timeout=240)
    assert one.returncode == 0, err
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [sys.executable, *torchrun, "-m", "grng_cli", "train", *TINY, *TWO[2:-1], "y", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["world_size"] == 2
    assert difference(checkpoint(workdir / "x"), checkpoint(workdir / "y")) is None
    assert "error" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_a_killed_process_ends_the_run_with_one_message_and_it_goes_on(
    whom: str, process: Start, workdir: Path
) -> None:
    running = process("train", *LONG, *TWO)
    wait_for(lambda: trains(workdir / "x"))
    children = family(running)
    victim = leader(workdir / "x") if whom == "leader" else follower(running, workdir / "x")
    victim.kill()
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (1, "")
    assert err.count("error: ") == 1, err
    assert "Traceback" not in err
    number = 0 if whom == "leader" else 1
    assert f"process {number} of the run's 2 ended before its time: killed by SIGKILL" in err
    wait_for(lambda: not any(map(is_alive, children)), seconds=10)
    failed = RunResult.load(workdir / "x" / "result.json")
    assert (failed.status, failed.reason, failed.world_size) == ("failed", "crash", 2)
    assert "killed by SIGKILL" in (failed.message or "")
    running = process("train", *LONG, *TWO, "--json")
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    value = json.loads(out)
    assert (value["status"], value["steps"]) == ("finished", 250)
    assert value["resumed_from_step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_saves_once_and_goes_on(process: Start, workdir: Path, number: signal.Signals, code: int) -> None:
    running = process("train", *LONG, *TWO)
    wait_for(lambda: trains(workdir / "x"))
    children = family(running)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (code, ""), err
    assert "Traceback" not in err
    assert err.count("what is there is saved") == 1
    wait_for(lambda: not any(map(is_alive, children)), seconds=10)
    stopped = RunResult.load(workdir / "x" / "result.json")
    assert (stopped.status, stopped.reason) == ("interrupted", "signal")
    line = err.splitlines()[-1].removeprefix("  go on with: grng ")
    running = process(*shlex.split(line), "--json")
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    value = json.loads(out)
    assert (value["resumed_from_step"], value["world_size"]) == (stopped.steps, 2)


@pytest.mark.slow
def test_a_signal_to_one_of_them_stops_all(process: Start, workdir: Path) -> None:
    running = process("train", *LONG, *TWO)
    wait_for(lambda: trains(workdir / "x"))
    follower(running, workdir / "x").send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 143, err
    assert RunResult.load(workdir / "x" / "result.json").status == "interrupted"


@pytest.mark.slow
def test_a_killed_parent_leaves_nothing_behind_but_a_run_to_go_on(process: Start, workdir: Path) -> None:
    running = process("train", *LONG, *TWO)
    wait_for(lambda: trains(workdir / "x"))
    children = family(running)
    running.kill()
    running.wait()
    wait_for(lambda: not any(map(is_alive, children)), seconds=15)
    assert RunResult.load(workdir / "x" / "result.json").status == "interrupted"


@pytest.mark.slow
def test_a_second_run_in_the_same_directory_is_refused(process: Start, workdir: Path) -> None:
    line = ("train", *LONG, *TWO, "--steps", 5000)
    running = process(*line)
    wait_for(lambda: trains(workdir / "x"))
    holder = leader(workdir / "x").pid
    other = process(*line)
    out, err = other.communicate(timeout=120)
    assert (other.returncode, out) == (2, "")
    assert err.count("error: ") == 1
    assert f"another run is writing here: process {holder} on" in err
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
