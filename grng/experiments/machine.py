"""How an experiment's runs share this machine: slots, threads, and the executor over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from grng.experiments.executor import Executor, InProcessExecutor
from grng.experiments.local import LocalExecutor
from grng.experiments.slots import Slot, share_out, usable_cores, visible_gpus
from grng.runs.config import RunConfig
from grng.runs.config import replace as replace_config
from grng.runs.sections import MachineConfig


def slots_for(workers: int | None, machine: MachineConfig) -> tuple[Slot, ...]:
    """Return one slot per worker; none where the runs are done in this process (`workers` is 0).

    Raises:
        GrngError: `workers` or the number of threads is not possible.
    """
    if workers == 0:
        return ()
    gpus = visible_gpus() if machine.device in ("auto", "cuda") else []
    slots = share_out(workers=workers, threads=machine.threads, cores=usable_cores(), gpus=gpus)
    if machine.device.startswith("cuda:") and len(slots) > 1:  # all on the one GPU that was named
        slots = [replace(slot, time_shared=True) for slot in slots]
    return tuple(slots)


def with_threads(config: RunConfig, slots: Sequence[Slot]) -> RunConfig:
    """Return `config` with the threads of the slots, which are alike."""
    if not slots:
        return config
    return replace_config(config, machine=replace_config(config.machine, threads=slots[0].threads))


def executor_for(slots: Sequence[Slot]) -> Executor:
    """Return a pool of processes on the slots; without slots, runs are done in this process."""
    return LocalExecutor(slots) if slots else InProcessExecutor()
