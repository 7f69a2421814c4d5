"""From which size on do inverses that are shared out over processes pay for being sent?

Layers with factors A and G of one size n are refreshed by every process for itself, and shared out over the processes
with each result sent to all (`grng.optim.sharing`). One thread a process, gloo, on this machine. The two ways take
turns; the median over `--rounds` of the slowest process's time. `gain` above 1: sharing pays.

    python benchmarks/inverse_sharing.py --processes 2
    python benchmarks/inverse_sharing.py --processes 2,4 --markdown docs/results/inverse-sharing.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from grng import __version__
from grng.curvature.kronecker import refresh_eigenbases, refresh_inverses
from grng.optim.processes import Processes
from grng.optim.sharing import Refreshed, refresh_shared, work

DECAY = 0.95


def states_of(layers: int, size: int) -> list[dict[str, Any]]:
    """Return layers whose factors have seen one batch of twice as many samples as they are wide."""
    draws = torch.Generator().manual_seed(size)
    states: list[dict[str, Any]] = []
    for _ in range(layers):
        samples = torch.randn(2, 2 * size, size, generator=draws)
        factors = (1 - DECAY) * samples.mT @ samples / (2 * size)
        states.append({"A": factors[:1].clone(), "G": factors[1:].clone(), "factor_updates": 1})
    return states


def refresher(states: list[dict[str, Any]], method: str) -> Callable[[int], Refreshed]:
    """Return what refreshes one of the layers."""
    damping = torch.tensor(1e-3)

    def refresh(place: int) -> Refreshed:
        if method == "eigenbasis":
            return refresh_eigenbases(states[place], decay=DECAY), []
        return refresh_inverses(states[place], damping, groups=1, decay=DECAY, method=method)

    return refresh


def own_way(states: list[dict[str, Any]], refresh: Callable[[int], Refreshed]) -> Callable[[], object]:
    """Return what refreshes all of them in this process."""
    return lambda: [refresh(place) for place in range(len(states))]


def shared_way(
    states: list[dict[str, Any]], refresh: Callable[[int], Refreshed], processes: Processes, method: str
) -> Callable[[], object]:
    """Return what refreshes a part of them in this process, and exchanges the results."""
    groups, exact = [1] * len(states), method == "eigenbasis"
    return lambda: refresh_shared(states, groups, refresh, processes, exact=exact)


def in_rank(rank: int, count: int, directory: str, arguments: argparse.Namespace) -> None:
    """Be one of `count` processes; the first writes what was measured."""
    torch.set_num_threads(1)
    meeting = (Path(directory) / f"meeting{count}").as_uri()
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    processes = Processes(None, torch.device("cpu"))
    rows = []
    for method in arguments.methods.split(","):
        for size in map(int, arguments.sizes.split(",")):
            states = states_of(arguments.layers, size)
            refresh = refresher(states, method)
            ways = {"own": own_way(states, refresh), "shared": shared_way(states, refresh, processes, method)}
            times: dict[str, list[float]] = {way: [] for way in ways}
            for number in range(arguments.rounds + 1):
                for way, act in ways.items():
                    distributed.barrier()
                    begun = time.perf_counter()
                    act()
                    slowest = max(row[0] for row in processes.gathered([round(1e9 * (time.perf_counter() - begun))]))
                    times[way] += [slowest / 1e6] if number else []
            own, shared = (statistics.median(times[way]) for way in ("own", "shared"))
            rows.append([count, method, size, sum(map(work, states)), own, shared, own / shared])
    if rank == 0:
        (Path(directory) / f"{count}.json").write_text(json.dumps(rows))
    distributed.destroy_process_group()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="2")
    parser.add_argument("--methods", default="cholesky,eigenbasis")
    parser.add_argument("--sizes", default="16,32,64,128,192,256,384,512")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        for count in map(int, arguments.processes.split(",")):
            spawn(in_rank, (count, directory, arguments), nprocs=count)
            rows += json.loads((Path(directory) / f"{count}.json").read_text())
    table = "\n".join(
        [
            "| processes | what | n | sum of n³ | ms, each its own | ms, shared | gain |",
            "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
            *(
                f"| {count} | {method} | {size} | {cost:.1e} | {own:.2f} | {shared:.2f} | {gain:.2f} |"
                for count, method, size, cost, own, shared, gain in rows
            ),
        ]
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    note = (
        f"{arguments.layers} layers with two factors of n × n in float32, one thread a process, gloo, {cores} cores; "
        f"median of {arguments.rounds} rounds. {platform.machine()}, torch {torch.__version__}, grng {__version__}."
    )
    print(f"{table}\n\n{note}")
    if arguments.markdown:
        head = (
            "# Inverses shared out\n\nMade by `python benchmarks/inverse_sharing.py`, which says what is measured.\n\n"
        )
        arguments.markdown.write_text(f"{head}{table}\n\n{note}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
