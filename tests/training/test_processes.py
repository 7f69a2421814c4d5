"""Real processes, killed at any moment or told to stop: what they leave goes on bit for bit."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.errors import Interrupted
from grng.training.trainer import train
from tests.training.helpers import SEVEN, checkpoint, difference, metrics, run_config, small_digits, untimed

PATIENCE = 120.0
"""Seconds that a process may take to get somewhere on a busy machine."""


def work(config: RunConfig, directory: Path) -> None:
    """Train in a process of its own."""
    import grng.data

    grng.data.load = small_digits
    try:
        train(config, directory)
    except Interrupted as error:
        sys.exit(error.exit_code)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes forked from a server that has torch and timm loaded, not from this one with its threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.test_processes"])
    return context


def config_of(optimizer: str) -> RunConfig:
    return run_config(
        optimizer,
        training={"steps": 24},
        logging={"log_every": 1, "checkpoint_every": 3},
        machine={"device": "cpu", "threads": 1},
    )


def begin(context: ForkServerContext, config: RunConfig, directory: Path) -> BaseProcess:
    process = context.Process(target=work, args=(config, directory))
    process.start()
    return process


def step_reached(directory: Path) -> int:
    with suppress(OSError, ValueError, IndexError):  # the last line may be half written
        return int(metrics(directory)[-1]["step"])
    return 0


def wait_for_step(process: BaseProcess, directory: Path, step: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.is_alive() and step_reached(directory) < step:
        assert time.monotonic() < deadline, "the process is stuck"
        time.sleep(0.002)


def kill(process: BaseProcess) -> bool:
    """Kill the process; return whether it was still at work."""
    assert process.pid is not None
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)
    return process.exitcode == -signal.SIGKILL


def saved_step(directory: Path) -> int | None:
    path = directory / "checkpoint" / "last.pt"
    return torch.load(path, weights_only=True)["progress"]["step"] if path.exists() else None


def run_to_the_end(context: ForkServerContext, config: RunConfig, directory: Path) -> RunResult:
    process = begin(context, config, directory)
    process.join(PATIENCE)
    assert process.exitcode == 0
    return RunResult.load(directory / "result.json")


def assert_same_run(left: Path, right: Path) -> None:
    assert untimed(left) == untimed(right)
    for name in ("last", "best"):
        assert difference(checkpoint(left, name), checkpoint(right, name)) is None
    one, other = (RunResult.load(directory / "result.json") for directory in (left, right))
    for field in ("status", "steps", "final", "best", "pairing"):
        assert getattr(one, field) == getattr(other, field)


def kill_and_resume(context: ForkServerContext, config: RunConfig, directory: Path, *, kills: int, seed: int) -> None:
    """Kill a run at random moments and let it go on after each, to its end."""
    moments = random.Random(seed)
    killed = 0
    for target in sorted(moments.sample(range(1, 20), kills)):
        process = begin(context, config, directory)
        wait_for_step(process, directory, target)
        time.sleep(moments.uniform(0, 0.02))
        killed += kill(process)
        assert not (directory / "result.json").exists()
    assert killed == kills
    before = saved_step(directory)
    assert run_to_the_end(context, config, directory).resumed_from_step == before


@pytest.fixture(scope="module")
def straight(processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone, in a process of its own."""
    directory = tmp_path_factory.mktemp("straight") / "run"
    run_to_the_end(processes, config_of("ring"), directory)
    return directory


def test_a_killed_run_goes_on_bit_for_bit(processes: ForkServerContext, straight: Path, tmp_path: Path) -> None:
    kill_and_resume(processes, config_of("ring"), tmp_path / "run", kills=3, seed=0)
    assert_same_run(tmp_path / "run", straight)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", SEVEN)
def test_every_optimizer_survives_many_kills(processes: ForkServerContext, tmp_path: Path, optimizer: str) -> None:
    config = config_of(optimizer)
    run_to_the_end(processes, config, tmp_path / "straight")
    for seed in range(1, 4):
        kill_and_resume(processes, config, tmp_path / str(seed), kills=6, seed=seed)
        assert_same_run(tmp_path / str(seed), tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("grace", [0.0, 0.002, 0.01, 0.05, 0.2])
def test_sigterm_and_after_a_short_grace_sigkill(
    processes: ForkServerContext, straight: Path, tmp_path: Path, grace: float
) -> None:
    """As schedulers end jobs: whether the grace suffices for the step and its checkpoint or not."""
    config, directory = config_of("ring"), tmp_path / "run"
    for step in (2, 7, 13):
        process = begin(processes, config, directory)
        wait_for_step(process, directory, step)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(grace)
        killed = kill(process)
        assert killed or process.exitcode == 143
    before = saved_step(directory)
    assert run_to_the_end(processes, config, directory).resumed_from_step == before
    assert_same_run(directory, straight)


def test_ctrl_c_in_a_process(processes: ForkServerContext, straight: Path, tmp_path: Path) -> None:
    config, directory = config_of("ring"), tmp_path / "run"
    process = begin(processes, config, directory)
    wait_for_step(process, directory, 5)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(PATIENCE)
    assert process.exitcode == 130
    stopped = RunResult.load(directory / "result.json")
    assert (stopped.status, stopped.reason) == ("interrupted", "signal")
    assert stopped.steps == saved_step(directory) == metrics(directory)[-1]["step"] >= 5
    assert run_to_the_end(processes, config, directory).resumed_from_step == stopped.steps
    assert_same_run(directory, straight)
