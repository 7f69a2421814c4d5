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
from grng.runs.sections import MachineConfig


def slots_for(workers: int | None, machine: MachineConfig, pool: PoolConfig) -> tuple[Slot, ...]:
    """Return one slot per worker; none where the runs are done in this process (`workers` is 0).

    Raises:
        GrngError: `workers`, the number of threads or the share of a GPU is not possible, or a time limit is to hold
            for runs in this process.
    """
    if workers == 0:
        if pool.timeout is not None:
            hint = "Leave out one of them: a run in this process cannot be stopped from outside."
            raise GrngError("--timeout needs workers, and --workers 0 has none.", where="--timeout", hint=hint)
        return ()
    gpus = visible_gpus() if machine.device in ("auto", "cuda") else []
    if pool.gpus_per_run is not None and not gpus:
        hint = "Leave it out, or see why torch finds none (CUDA_VISIBLE_DEVICES, the driver, a build for CPUs)."
        if machine.device not in ("auto", "cuda"):
            hint = f"Leave it out, or give --device auto: the runs are to be on {machine.device}."
        raise GrngError("a share of a GPU is asked for, and there is none.", where="--gpus-per-run", hint=hint)
    cores = usable_cores()
    slots = share_out(
        workers=workers, threads=machine.threads, cores=cores, gpus=gpus, gpus_per_run=pool.gpus_per_run or 1.0
    )
    threads = len(slots) * slots[0].threads
    if threads > len(cores) and not gpus and not pool.oversubscribe:
        each = f" with {slots[0].threads} threads each" if slots[0].threads > 1 else ""
        raise GrngError(
            f"{len(slots)} workers{each} need {threads} cores, and there are {len(cores)}.",
            where="--workers" if workers else "--threads-per-run",
            hint=f"Give --workers {max(1, len(cores) // slots[0].threads)}, or --oversubscribe if times do not matter.",
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
