"""How many runs go at once on a Ray cluster, and with what each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError
from grng.experiments.pool.config import PoolConfig
from grng.experiments.pool.slots import Slot
from grng.runs.sections import MachineConfig

if TYPE_CHECKING:
    from grng.experiments.on_ray.cluster import Machine


def cluster_slots(workers: int | None, machine: MachineConfig, pool: PoolConfig) -> tuple[Slot, ...]:
    """Return one slot per run at once; `workers` None: as many as the cluster has room for.

    Raises:
        GrngError: Ray is not installed, nobody answers, or no machine of the cluster has what a run needs.
    """
    from grng.experiments.on_ray.cluster import connect

    _check_asked(workers, machine, pool)
    machines = connect(pool.address)
    threads = machine.threads or 1
    gpus = _gpus(machine, pool, machines)
    rooms = [room(one, threads, gpus) for one in machines]
    if not any(rooms):
        needed = f"{threads} core{'s' * (threads > 1)}"
        if gpus:
            needed += " and a GPU" if gpus == 1 else f" and {gpus:g} of a GPU"
        there = "; ".join(f"{one.host}: {one.cores:g} cores, {one.gpus:g} GPUs" for one in machines)
        gpus_lack = gpus > 0 and any(room(one, threads, 0.0) for one in machines)
        where = "--threads-per-run" if not gpus_lack else "--gpus-per-run" if pool.gpus_per_run else "machine.device"
        raise GrngError(
            f"no machine of the cluster has {needed} for a run ({there}).",
            where=where,
            hint="Ask for less, or add a machine to the cluster: ray start --address HOST:PORT.",
        )
    total = sum(rooms)
    if workers is not None and workers > total and not pool.oversubscribe:
        hint = f"Give --workers {total}, or --oversubscribe where the cluster grows when tasks wait."
        raise GrngError(f"the cluster has room for {total} runs at once, not {workers}.", where="--workers", hint=hint)
    return (Slot((), threads, time_shared=0 < gpus < 1, gpus=gpus),) * (workers or total)


def check_cluster(slots: Sequence[Slot], pool: PoolConfig, directory: Path) -> None:
    """Look whether the machines that runs may go to see the folder and have this grng; nothing stays written.

    Args:
        slots: Of `cluster_slots`.
        pool: What the runs go on.
        directory: The experiment's.

    Raises:
        GrngError: A machine will not do.
        RunDirectoryError: The folder is not shared.
    """
    from grng.experiments.on_ray.cluster import connect
    from grng.experiments.on_ray.machines import check_machines

    need = slots[0]
    check_machines([one for one in connect(pool.address) if room(one, need.threads, need.gpus)], directory)


def room(machine: Machine, threads: int, gpus: float) -> int:
    """Return how many runs a machine has room for.

    Args:
        machine: The machine.
        threads: Cores that a run needs.
        gpus: Share of a GPU that it needs; 0: none.
    """
    by_cores = int(machine.cores // threads)
    return min(by_cores, int(machine.gpus) * int(1 / gpus + 1e-9)) if gpus else by_cores


def _check_asked(workers: int | None, machine: MachineConfig, pool: PoolConfig) -> None:
    """Refuse what no cluster can do, before one is looked for."""
    if workers == 0:
        hint = "Leave out one of them: with 0 the runs are done in this process."
        raise GrngError("Ray needs workers, and --workers 0 has none.", where="--workers", hint=hint)
    if machine.device.startswith("cuda:"):
        hint = "Give --device cuda."
        raise GrngError(
            f"which GPU a run gets is Ray's to say, not {machine.device}.", where="machine.device", hint=hint
        )
    if machine.device not in ("auto", "cuda") and pool.gpus_per_run is not None:
        hint = f"Leave it out, or give --device auto: the runs are to be on {machine.device}."
        raise GrngError("a share of a GPU is asked for, and there is none.", where="--gpus-per-run", hint=hint)


def _gpus(machine: MachineConfig, pool: PoolConfig, machines: Sequence[Machine]) -> float:
    """Return the share of a GPU that each run asks the cluster for; 0: none."""
    if machine.device not in ("auto", "cuda"):
        return 0.0
    if pool.gpus_per_run is not None:
        return pool.gpus_per_run
    return 1.0 if machine.device == "cuda" or any(one.gpus for one in machines) else 0.0
