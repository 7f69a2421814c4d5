"""How an experiment shares a machine, and what it refuses."""

from __future__ import annotations

import pytest

from grng.errors import GrngError
from grng.experiments import machine
from grng.experiments.machine import slots_for
from grng.experiments.pool.config import PoolConfig
from grng.runs.sections import MachineConfig


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: (0, 1))
    monkeypatch.setattr(machine, "visible_gpus", list)


@pytest.mark.parametrize(
    ("workers", "threads", "said", "hint"),
    [
        (3, None, "3 workers need 3 cores, and there are 2.", "--workers 2"),
        (2, 2, "2 workers with 2 threads each need 4 cores, and there are 2.", "--workers 1"),
        (None, 4, "4 threads of a run need 4 cores, and there are 2.", "--threads-per-run 2"),
    ],
)
def test_more_threads_than_cores_are_refused_unless_asked_for(
    workers: int | None, threads: int | None, said: str, hint: str
) -> None:
    with pytest.raises(GrngError) as caught:
        slots_for(workers, MachineConfig(threads=threads), PoolConfig())
    assert caught.value.message == said
    assert hint in str(caught.value)
    slots = slots_for(workers, MachineConfig(threads=threads), PoolConfig(oversubscribe=True))
    assert all(slot.time_shared for slot in slots)


def test_a_share_of_a_gpu_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GrngError, match="there is none") as caught:
        slots_for(None, MachineConfig(), PoolConfig(gpus_per_run=1.0))
    assert caught.value.where == "--gpus-per-run"
    with pytest.raises(GrngError, match="the runs are to be on cpu"):
        slots_for(None, MachineConfig(device="cpu"), PoolConfig(gpus_per_run=0.5))
    monkeypatch.setattr(machine, "visible_gpus", lambda: ["0"])
    slots = slots_for(None, MachineConfig(), PoolConfig(gpus_per_run=0.25))
    assert [slot.gpu for slot in slots] == ["0"] * 4, "a GPU may have more runs than there are cores"


def test_a_time_limit_needs_workers() -> None:
    with pytest.raises(GrngError, match="--timeout needs workers"):
        slots_for(0, MachineConfig(), PoolConfig(timeout=60.0))
    assert slots_for(0, MachineConfig(), PoolConfig()) == ()
