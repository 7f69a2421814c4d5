"""What runs do in the tests of a cluster."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from grng.errors import GrngError
from grng.experiments.pool.executor import EventHandler
from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.runs.rundir import RunDirectory
from tests.experiments.runners import result_of

HELD_STEP = 12


def by_seed(config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool) -> RunResult:
    """Do what the seed says; no training.

    0: send a few events, 1: be killed at the first attempt, 2: raise an error of the user's, 3: a fault of the program.
    """
    if config.seed == 0:
        print("a library warns", file=sys.stderr, flush=True)
        for number in range(5):
            on_event(number)
    if config.seed == 1:
        RunDirectory(directory).prepare(config)
        been_here = directory / ".been-here"
        if not been_here.exists():
            been_here.touch()
            print("the last words of the worker", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    if config.seed == 2:
        raise GrngError("the directory is in use", where=str(directory), hint="Wait.")
    if config.seed == 3:
        raise ZeroDivisionError("a fault")
    return result_of(config, message=f"rerun={rerun} shared={time_shared} pid={os.getpid()}")


def wait_long(
    config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
) -> RunResult:
    """Wait to be interrupted, and write down how often that happens."""
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    RunDirectory(directory).prepare(config)
    on_event("waiting")
    deadline = time.monotonic() + 120
    while not received and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)  # would see a second one
    (directory / "metrics.jsonl").write_text(str(len(received)))
    raise KeyboardInterrupt


def held(config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool) -> RunResult:
    """Train, and stand still at a step until `let-go` is there, three folders up; say there which process that is."""
    import ray

    from grng.training.events import StepDone
    from grng.training.trainer import train

    place = directory.parents[2]

    def stand_still(event: Any) -> None:
        on_event(event)
        if isinstance(event, StepDone) and event.step == HELD_STEP:
            node = ray.get_runtime_context().get_node_id()
            (place / f"held-{config.label}-{config.seed}").write_text(f"{node} {os.getpid()}")
            while not (place / "let-go").exists():
                time.sleep(0.02)

    return train(config, directory, listeners=[stand_still], time_shared=time_shared)
