"""What several processes are worth: time of a step, with the inverses shared out over them and without.

Each process has one thread and a part of every batch of `--batch` images; all are on this machine, connected by gloo.
Blocks of ten steps (the interval of the inverses' refreshes) with and without sharing take turns, so that a drift of
the machine falls on both alike; the median over `--rounds` blocks. `first` is the optimizer's part of the first step,
in which every layer is due.

    python benchmarks/processes.py --processes 1,2
    python benchmarks/processes.py --model resnet18 --batch 64 --optimizers kfac
    python benchmarks/processes.py --markdown docs/results/processes.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import timm
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from grng import __version__
from grng.optim import sharing
from grng.runs.config import RunConfig, resolve
from grng.runs.launched import Place
from grng.training.building import build_session
from grng.training.distributed import World
from grng.training.seeding import preserved_rng
from grng.training.session import Session

BLOCK = 10
SHARED = {"shared": 0.0, "each its own": float("inf")}


def in_rank(rank: int, size: int, directory: str, arguments: argparse.Namespace) -> None:
    """Be one of `size` processes; the first writes what it measured."""
    torch.set_num_threads(1)
    meeting = (Path(directory) / f"meeting{size}").as_uri()
    if size > 1:
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    world = World(Place(rank, size, rank, size))
    rows = [row for name in arguments.optimizers.split(",") for row in measure(name, world, arguments)]
    if rank == 0:
        (Path(directory) / f"{size}.json").write_text(json.dumps(rows))
    if size > 1:
        distributed.destroy_process_group()


def measure(name: str, world: World, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each way to share the inverses out, that are different for this optimizer."""
    config = resolve(
        RunConfig.model_validate(
            {
                "model": arguments.model,
                "dataset": "mnist5k",
                "optimizer": name,
                "training": {"steps": 10_000, "batch_size": arguments.batch},
                "machine": {"device": "cpu", "threads": 1},
            }
        )
    )
    preconditions = "inverse_interval" in config.optimizer.hyperparameters
    ways = SHARED if preconditions and world.active else {"": 0.0}
    with preserved_rng(), ExitStack() as held:
        sessions = {way: held.enter_context(closing(build_session(config, world))) for way in ways}
        first = {}
        for way, session in sessions.items():
            session.meet()
            first[way] = block(session, ways[way], 1)[1]
            block(session, ways[way], BLOCK - 1)
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, session in sessions.items():
                times[way].append(block(session, ways[way], BLOCK))
    return [
        {
            "optimizer": name,
            "processes": world.size,
            "inverses": way,
            "step": statistics.median(step for step, _ in times[way]),
            "in the optimizer": statistics.median(inside for _, inside in times[way]),
            "first": first[way],
        }
        for way in ways
    ]


def block(session: Session, least_work: float, steps: int) -> tuple[float, float]:
    """Do some steps; return the mean milliseconds of a step, and of its part in the optimizer."""
    sharing.LEAST_WORK = least_work
    before = session.clock.state_dict()
    for _ in range(steps):
        session.progress.record_step(session.advance().loss)
    after = session.clock.state_dict()
    inside = after["phases"]["optimizer"] - before["phases"]["optimizer"]
    return 1e3 * (after["total"] - before["total"]) / steps, 1e3 * inside / steps


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--optimizers", default="adamw,kfac,ring,reng")
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        for size in map(int, arguments.processes.split(",")):
            spawn(in_rank, (size, directory, arguments), nprocs=size)
            rows += json.loads((Path(directory) / f"{size}.json").read_text())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        "| optimizer | processes | inverses | ms a step | of it in the optimizer | first step's optimizer |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
        *(
            f"| {row['optimizer']} | {row['processes']} | {row['inverses']} | {row['step']:.0f} "
            f"| {row['in the optimizer']:.1f} | {row['first']:.0f} |"
            for row in rows
        ),
    ]
    note = (
        f"{arguments.model} on mnist5k, batch {arguments.batch} in all, one thread a process, gloo, {cores} cores "
        f"(more processes than cores share them: no gain is to be expected there); median of {arguments.rounds} blocks "
        f"of {BLOCK} steps. {platform.machine()}, torch {torch.__version__}, timm {timm.__version__}, "
        f"grng {__version__}."
    )
    table = "\n".join(lines)
    print(f"{table}\n\n{note}")
    if arguments.markdown:
        head = "# Several processes\n\nMade by `python benchmarks/processes.py`, which says what is measured.\n\n"
        arguments.markdown.write_text(f"{head}{table}\n\n{note}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
