"""How an experiment's runs share this machine: slots, threads, and the executor over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from grng.errors import GrngError
from grng.experiments.on_ray.slots import check_cluster, cluster_slots
from grng.experiments.pool.config import PoolConfig
from grng.experiments.pool.executor import Executor, InProcessExecutor, OnDemand
from grng.experiments.pool.local import LocalExecutor
from grng.experiments.pool.slots import Slot, share_out, usable_cores, visible_gpus
from grng.runs.config import RunConfig
from grng.runs.config import replace as replace_config
from grng.runs.schema import Locate
from grng.runs.sections import MachineConfig


def slots_for(
    workers: int | None, machine: MachineConfig, pool: PoolConfig, *, locate: Locate | None = None
) -> tuple[Slot, ...]:
    """Return one slot per worker; none where the runs are done in this process (`workers` is 0).

    Args:
        workers: How many runs are to go at once; None: as many as there is room for.
        machine: What each of them gets.
        pool: How they share GPUs and time.
        locate: Where a key of the experiment was given, for messages.

    Raises:
        GrngError: `workers`, the number of threads or the share of a GPU is not possible, or a time limit is to hold
            for runs in this process.
    """

    def where(flag: str, *key: str) -> str:
        return locate(key) if locate else flag

    if pool.engine == "ray":
        return cluster_slots(workers, machine, pool)
    if pool.address is not None:
        message = "an address of a Ray cluster is given, and runs are to be on this machine."
        at = where("--address", "pool", "address")
        raise GrngError(message, where=at, hint="Give --engine ray, too, or leave it out.")
    if workers == 0 and pool.timeout is not None:
        hint = "Leave out one of them: a run in this process cannot be stopped from outside."
        at = where("--timeout", "pool", "timeout")
        raise GrngError("--timeout needs workers, and --workers 0 has none.", where=at, hint=hint)
    if workers == 0 and pool.gpus_per_run is None:
        return ()
    gpus = visible_gpus() if machine.device in ("auto", "cuda") else []
    if pool.gpus_per_run is not None and not gpus:
        hint = "Leave it out, or see why torch finds none (CUDA_VISIBLE_DEVICES, the driver, a build for CPUs)."
        if machine.device not in ("auto", "cuda"):
            hint = f"Leave it out, or give --device auto: the runs are to be on {machine.device}."
        at = where("--gpus-per-run", "pool", "gpus_per_run")
        raise GrngError("a share of a GPU is asked for, and there is none.", where=at, hint=hint)
    if workers == 0:
        return ()
    cores = usable_cores()
    slots = share_out(
        workers=workers, threads=machine.threads, cores=cores, gpus=gpus, gpus_per_run=pool.gpus_per_run or 1.0
    )
    threads = len(slots) * slots[0].threads
    if threads > len(cores) and not gpus and not pool.oversubscribe:
        each = f" with {slots[0].threads} threads each" if slots[0].threads > 1 else ""
        who = f"{len(slots)} workers{each} need" if len(slots) > 1 else f"{slots[0].threads} threads of a run need"
        fitting = f"--threads-per-run {len(cores)}"
        if slots[0].threads <= len(cores):
            fitting = f"--workers {len(cores) // slots[0].threads}"
        raise GrngError(
            f"{who} {threads} cores, and there are {len(cores)}.",
            where=where("--workers", "workers") if workers else where("--threads-per-run", "machine", "threads"),
            hint=f"Give {fitting}, or --oversubscribe if times do not matter.",
        )
    if machine.device.startswith("cuda:") and len(slots) > 1:  # all on the one GPU that was named
        slots = [replace(slot, time_shared=True) for slot in slots]
    return tuple(slots)


def with_threads(config: RunConfig, slots: Sequence[Slot]) -> RunConfig:
    """Return `config` with the threads of the slots, which are alike."""
    if not slots:
        return config
    return replace_config(config, machine=replace_config(config.machine, threads=slots[0].threads))


def check_budget(pool: PoolConfig, seconds: float | None) -> None:
    """Refuse a budget in seconds for runs that are not on this machine, where it would be measured.

    Raises:
        GrngError: It is one.
    """
    if pool.engine == "ray" and seconds:
        hint = "Give --steps or --epochs, or leave out --engine ray."
        message = "a budget in seconds would be measured on this machine, and the runs are to be on a Ray cluster's."
        raise GrngError(message, where="--seconds", hint=hint)


def check_place(slots: Sequence[Slot], pool: PoolConfig, directory: Path) -> None:
    """Check that all machines which runs may go to share their directory; nothing stays written.

    Args:
        slots: Of `slots_for`.
        pool: What the runs go on.
        directory: The experiment's.

    Raises:
        GrngError: A machine of the cluster will not do, or does not share the folder.
    """
    if pool.engine == "ray":
        check_cluster(slots, pool, directory)


def are_here(slots: Sequence[Slot], pool: PoolConfig) -> bool:
    """Return whether the devices that the runs will be on are those of this machine; a CPU is one everywhere."""
    return pool.engine != "ray" or not slots[0].gpus


def executor_for(slots: Sequence[Slot], pool: PoolConfig) -> Executor:
    """Return what runs go on, started with the first of them: see `started`."""
    return OnDemand(partial(started, slots, pool))


def started(slots: Sequence[Slot], pool: PoolConfig) -> Executor:
    """Return processes on the slots, or a cluster; without slots runs are done in this process."""
    if pool.engine == "ray":
        from grng.experiments.on_ray.executor import RayExecutor

        return RayExecutor(slots, timeout=pool.timeout)
    return LocalExecutor(slots, timeout=pool.timeout) if slots else InProcessExecutor()
