"""What workers do in the tests of the pool: real processes, no training."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grng.errors import GrngError
from grng.experiments.pool.executor import EventHandler
from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.errors import Interrupted


def result_of(config: RunConfig, *, message: str | None = None, steps: int = 1) -> RunResult:
    now = datetime.now(UTC)
    return RunResult(
        status="finished",
        message=message,
        label=config.label or config.optimizer.name,
        optimizer=config.optimizer.name,
        hyperparameters={},
        model=config.model.name,
        dataset=config.dataset.name,
        seed=config.seed,
        steps=steps,
        batch_size=config.training.batch_size,
        run_id="0" * 64,
        created=now,
        finished=now,
    )


def look(config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool) -> RunResult:
    """Say what the process sees: its cores, threads, session, and what its server holds."""
    import torch

    status = Path(f"/proc/{os.getppid()}/status").read_text()
    server_threads = next(line for line in status.splitlines() if line.startswith("Threads:")).split()[1]
    on_event({"seed": config.seed})
    seen = {
        "pid": os.getpid(),
        "cores": sorted(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "session": os.getsid(0),
        "server_threads": int(server_threads),
        "cuda": torch.cuda.is_initialized(),
        "time_shared": time_shared,
        "rerun": rerun,
        "preloaded": "timm" in sys.modules,
    }
    return result_of(config, message=repr(seen))


def die_once(
    config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
) -> RunResult:
    """Be killed at the first attempt; finish at the second."""
    directory.mkdir(parents=True, exist_ok=True)
    been_here = directory / "been-here"
    if been_here.exists():
        return result_of(config, message=f"rerun={rerun}")
    been_here.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die(config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool) -> RunResult:
    """Be killed at every attempt where the seed is 1."""
    if config.seed == 1:
        print("the last words of the worker", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return result_of(config)


def complain(
    config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
) -> RunResult:
    """Raise an error of the user's making where the seed is 1, a fault of the program where it is 2."""
    if config.seed == 1:
        raise GrngError("the directory is in use", where=str(directory), hint="Wait.")
    if config.seed == 2:
        raise Unpicklable(lambda: None)
    return result_of(config)


class Unpicklable(Exception):
    """An error that cannot travel between processes."""


def wait_long(
    config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
) -> RunResult:
    """Wait for a signal, counting them in a file; then stop as training does."""
    directory.mkdir(parents=True, exist_ok=True)
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        received.append(number)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    (directory / "pid").write_text(str(os.getpid()))
    on_event("waiting")
    deadline = time.monotonic() + 60
    while not received and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)  # would see a second signal
    (directory / "signals").write_text(" ".join(map(str, received)))
    raise KeyboardInterrupt


def until_told(
    config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
) -> RunResult:
    """Go on until a request to stop, and save as training does; finish at once where that was done before."""
    if (directory / "result.json").exists():
        return result_of(config, steps=2)
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):  # a pool sends the one, Ray the other
        signal.signal(number, lambda number, frame: received.append(number))
    on_event("going on")
    deadline = time.monotonic() + 300
    while not received and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # would see a second signal
    save_interrupted(config, directory, message=f"{len(received)} signals")
    raise AssertionError


def save_interrupted(config: RunConfig, directory: Path, *, message: str = "", steps: int = 1) -> None:
    """Leave what a run leaves that was told to stop, and raise what it raises."""
    directory.mkdir(parents=True, exist_ok=True)
    left = result_of(config, message=message, steps=steps).model_copy(
        update={"status": "interrupted", "reason": "signal"}
    )
    left.save(directory / "result.json")
    raise Interrupted("stopped", where=str(directory))


def ignore_everything(
    config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
) -> RunResult:
    """Do not react to a request to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pid").write_text(str(os.getpid()))
    time.sleep(60)
    return result_of(config)


class Scored:
    """A runner whose results follow from a validation accuracy, a function of the config; None: the run diverged.

    Args:
        score: The function.
        stop_at: How many runs are done before one is interrupted; None: all.
    """

    def __init__(self, score: Callable[[RunConfig], float | None], *, stop_at: int | None = None) -> None:
        self.score = score
        self.stop_at = stop_at
        self.done: list[Path] = []
        self.configs: list[RunConfig] = []

    def __call__(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
    ) -> RunResult:
        if len(self.done) == self.stop_at:
            raise KeyboardInterrupt
        self.done.append(directory)
        self.configs.append(config)
        return self.result(config, directory, self.score(config))

    def result(self, config: RunConfig, directory: Path, accuracy: float | None) -> RunResult:
        """Return what a run with this validation accuracy results in."""
        raise NotImplementedError
