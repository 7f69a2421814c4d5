"""How an experiment's runs share this machine: slots, threads, and the executor over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from grng.errors import GrngError
from grng.experiments.executor import Executor, InProcessExecutor
from grng.experiments.local import LocalExecutor
from grng.experiments.pool_config import PoolConfig
from grng.experiments.slots import Slot, share_out, usable_cores, visible_gpus
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


def executor_for(slots: Sequence[Slot], pool: PoolConfig) -> Executor:
    """Return a pool of processes on the slots; without slots, runs are done in this process."""
    return LocalExecutor(slots, timeout=pool.timeout) if slots else InProcessExecutor()
