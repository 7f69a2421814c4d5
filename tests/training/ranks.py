"""Two processes that train runs together, one run after the other, for the tests."""

from __future__ import annotations

import contextlib
import datetime
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from grng.data import DataBundle, Split
from grng.errors import GrngError
from grng.runs.config import RunConfig
from grng.runs.launched import Place
from grng.runs.result import RunResult
from grng.training.loop import Loop
from grng.training.trainer import train
from tests.training.helpers import at_step, interrupt_when, run_config, small_digits

WORLD = 2
PATIENCE = 1000.0
"""Seconds for all jobs together on a busy machine; tests that have so many say so to pytest, too."""


@dataclass(frozen=True)
class Job:
    """What the processes do next: a run in the directory `name`, or an action, of which `name` is the name.

    `stop` is a step after which the run is interrupted; `alone`: by the first process alone; `double`: in float64;
    `traced`: what is compiled is traced as in earnest, without generating code, and nothing is within the steps.
    """

    name: str
    config: RunConfig | None = None
    stop: int | None = None
    alone: bool = False
    double: bool = False
    traced: bool = False
    action: Callable[[], object] | None = None


def in_ranks(jobs: Sequence[tuple[str, Job]], directory: Path) -> list[dict[str, str]]:
    """Do all jobs, each under a key, in two new processes; return for each process what they raised, by their keys."""
    context = server()
    ranks = [context.Process(target=_be, args=(rank, list(jobs), directory)) for rank in range(WORLD)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(PATIENCE)
        if rank.is_alive():
            rank.kill()
    assert [rank.exitcode for rank in ranks] == [0] * WORLD
    return [json.loads((directory / f"errors{rank}.json").read_text()) for rank in range(WORLD)]


def server() -> ForkServerContext:
    """Processes forked from a server that has torch and timm loaded, not from this one with its threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.test_processes"])
    return context


def _be(rank: int, jobs: Sequence[tuple[str, Job]], directory: Path) -> None:
    place = Place(rank, WORLD, rank, WORLD).environment(address="127.0.0.1", port=1)
    timeout = datetime.timedelta(seconds=PATIENCE)
    meeting = (directory / "meeting").as_uri()
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORLD, timeout=timeout)
    raised: dict[str, str] = {}
    for key, job in jobs:
        if job.alone and rank != 0:
            continue
        with _alone() if job.alone else _placed(place):
            try:
                _do(job, directory)
            except (GrngError, RuntimeError, MemoryError) as error:
                raised[key] = f"{type(error).__name__}: {error}"
    (directory / f"errors{rank}.json").write_text(json.dumps(raised))
    distributed.barrier()
    distributed.destroy_process_group()


@contextlib.contextmanager
def _placed(place: dict[str, str]) -> Iterator[None]:
    os.environ.update(place)
    try:
        yield
    finally:
        for name in place:
            del os.environ[name]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let nobody see the process group."""
    original = distributed.is_initialized
    distributed.is_initialized = lambda: False
    try:
        yield
    finally:
        distributed.is_initialized = original


def _do(job: Job, directory: Path) -> None:
    import grng.data

    if job.config is None:
        assert job.action is not None
        job.action()
        return
    grng.data.load = double_digits if job.double else small_digits
    torch.set_default_dtype(torch.float64 if job.double else torch.float32)
    listeners = [] if job.stop is None else [interrupt_when(at_step(job.stop))]
    with _tracing() if job.traced else contextlib.nullcontext():
        train(job.config, directory / job.name, listeners=listeners)


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    compile_in_earnest: Any = torch.compile
    compiler: Any = torch
    compiler.compile = lambda model: compile_in_earnest(model, backend="aot_eager")
    run_in_earnest = Loop.run

    def run(self: Loop) -> RunResult:
        with torch.compiler.set_stance("fail_on_recompile"):
            return run_in_earnest(self)

    Loop.run = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        Loop.run = run_in_earnest  # type: ignore[method-assign]
        compiler.compile = compile_in_earnest
        torch.compiler.reset()


def double_digits(name: str, *, img_size: int | None = None) -> DataBundle:
    """Return `small_digits` in float64."""
    data = small_digits(name, img_size=img_size)
    return replace(data, train=_double(data.train), val=_double(data.val), test=_double(data.test))


def _double(split: Split) -> Split:
    return Split(split.images.double(), split.labels)


def plain_config(optimizer: Any, *, model: Any = "test_vit", **sections: Any) -> RunConfig:
    """Return three steps of a small model without BatchNorm or dropout; an epoch has eight."""
    training = {"steps": 3, "batch_size": 16, "eval_every": None, **sections.pop("training", {})}
    machine = {"device": "cpu", "threads": 1, **sections.pop("machine", {})}
    dataset = sections.pop("dataset", {"name": "digits", "img_size": 32})
    return run_config(optimizer, training=training, machine=machine, model=model, dataset=dataset, **sections)
