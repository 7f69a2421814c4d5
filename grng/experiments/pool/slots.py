"""How a machine's cores and GPUs are shared out among workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from grng.errors import GrngError


@dataclass(frozen=True)
class Slot:
    """What one worker may use.

    Args:
        cores: The cores it is pinned to; empty: not pinned.
        threads: torch's threads within a run.
        gpu: What CUDA_VISIBLE_DEVICES is set to; None: left as it is.
        time_shared: Another worker uses the same cores or GPU, so that step times mean little.
        gpus: Share of a GPU that a run asks a cluster for, which says itself which one; 0: none.
    """

    cores: tuple[int, ...]
    threads: int
    gpu: str | None = None
    time_shared: bool = False
    gpus: float = 0.0


def usable_cores() -> tuple[int, ...]:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def share_out(
    *,
    workers: int | None,
    threads: int | None,
    cores: Sequence[int],
    gpus: Sequence[str] = (),
    gpus_per_run: float = 1.0,
) -> list[Slot]:
    """Return one slot per worker.

    Args:
        workers: How many runs at once; None: as many as the GPUs bear, or as the cores allow.
        threads: torch's threads per run, each on a core of its own; None: the cores divided evenly when `workers` is
            given, else one.
        cores: The usable cores.
        gpus: What CUDA_VISIBLE_DEVICES can be set to, one entry a GPU; empty when runs do not use GPUs.
        gpus_per_run: Share of a GPU that a run is taken to need, in (0, 1].

    Raises:
        GrngError: `workers` or `threads` is below 1, or `gpus_per_run` is no share.
    """
    if not 0 < gpus_per_run <= 1:
        hint = "Give a share such as 0.5 to let two runs go on one GPU."
        raise GrngError(
            f"a run uses one GPU, or a share of one, not {gpus_per_run:g}", where="--gpus-per-run", hint=hint
        )
    on_one = int(1 / gpus_per_run + 1e-9)
    for flag, value in (("--workers", workers), ("--threads-per-run", threads)):
        if value is not None and value < 1:
            raise GrngError(f"must be at least 1, not {value}", where=flag)
    if workers is None:
        workers = len(gpus) * on_one or max(1, len(cores) // (threads or 1))
        if threads is None and not gpus:
            threads = 1
    if threads is None:
        threads = max(1, len(cores) // workers)
    crowded = workers * threads > len(cores)
    slots = []
    for worker in range(workers):
        own = () if crowded else tuple(cores[worker * threads : (worker + 1) * threads])
        gpu = gpus[worker % len(gpus)] if gpus else None
        slots.append(Slot(own, threads, gpu, time_shared=crowded or (gpu is not None and workers > len(gpus))))
    return slots


def visible_gpus() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES names, or the numbers of all GPUs; imports torch, initialises nothing."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if named:
        return [name.strip() for name in named.split(",")][:count]
    return [str(number) for number in range(count)]
