"""What becomes of runs on a real Ray cluster: events, retries, errors, time limits, a request to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grng.errors import GrngError, RunDirectoryError
from grng.experiments.on_ray.cluster import connect
from grng.experiments.on_ray.executor import RayExecutor
from grng.experiments.on_ray.slots import check_cluster, cluster_slots
from grng.experiments.on_ray.task import Printed
from grng.experiments.pool.config import PoolConfig
from grng.experiments.pool.local import Cancelled, WorkerDied
from grng.experiments.pool.slots import Slot
from grng.runs.result import RunResult
from grng.runs.sections import MachineConfig
from tests.engines import runners
from tests.engines.conftest import TwoNodes
from tests.experiments.pool.test_local import config
from tests.experiments.runners import until_told
from tests.waiting import wait_until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

SLOTS = [Slot((), 1)] * 2


def test_a_folder_that_the_machines_of_a_cluster_do_not_share_is_refused(
    two_nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = PoolConfig(engine="ray", address=two_nodes.address)
    slots = cluster_slots(None, MachineConfig(), pool)
    assert slots == (Slot((), 1),) * 2
    assert [machine.cores for machine in connect(two_nodes.address)] == [1.0, 1.0]

    check_cluster(slots, pool, tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == [], "the probe is gone, and nothing was made"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"is not shared: the machine .* does not see /proc/self/cwd"):
        check_cluster(slots, pool, Path("/proc/self/cwd/x"))  # every process has its own
    assert list(tmp_path.iterdir()) == []


def test_what_becomes_of_runs(two_nodes: TwoNodes, tmp_path: Path) -> None:
    connect(two_nodes.address)
    events: dict[int, list[Any]] = {seed: [] for seed in range(4)}
    with RayExecutor(SLOTS, runner=runners.by_seed) as pool:
        futures = [
            pool.submit(config(seed), tmp_path / str(seed), on_event=events[seed].append, rerun=True)
            for seed in range(4)
        ]
        first, second = futures[0].result(), futures[1].result()
        with pytest.raises(GrngError, match="the directory is in use"):
            futures[2].result()
        failed = futures[3].result()
    assert first.message is not None
    assert first.message.startswith("rerun=True shared=False")
    assert [event for event in events[0] if not isinstance(event, Printed)] == [0, 1, 2, 3, 4], "all, in order"
    assert Printed("a library warns") in events[0]

    assert second.message is not None
    assert second.message.startswith("rerun=False"), "a retry resumes"
    (died,) = [event for event in events[1] if isinstance(event, WorkerDied)]
    assert died.retried
    assert "the last words of the worker" in died.reason

    assert (failed.status, failed.reason) == ("failed", "crash")
    assert "ZeroDivisionError: a fault" in (failed.message or ""), "the traceback is kept"
    assert not list(tmp_path.glob(".*.log"))


def test_a_run_over_its_time_and_one_that_is_cancelled_save_themselves(two_nodes: TwoNodes, tmp_path: Path) -> None:
    connect(two_nodes.address)
    with RayExecutor(SLOTS[:1], runner=runners.wait_long, timeout=0.5) as pool:
        slow = pool.submit(config(), tmp_path / "slow").result()
    assert (slow.status, slow.reason) == ("failed", "timeout")
    assert "stopped after 0.5 s (--timeout); it saved itself" in (slow.message or "")
    assert RunResult.load(tmp_path / "slow" / "result.json") == slow

    begun: list[Any] = []
    pool = RayExecutor(SLOTS, runner=runners.wait_long)
    futures = [pool.submit(config(seed), tmp_path / f"cancelled{seed}", on_event=begun.append) for seed in range(3)]
    wait_until(lambda: len(begun) == 2)
    pool.shutdown(cancel=True)
    assert all(isinstance(future.exception(timeout=1), Cancelled) for future in futures[:2])
    assert futures[2].cancelled(), "it had not begun"
    for path in (tmp_path / "slow", tmp_path / "cancelled0", tmp_path / "cancelled1"):
        assert (path / "metrics.jsonl").read_text() == "1", "it was told once"


def test_one_run_alone_is_told_to_stop_and_saves_itself(two_nodes: TwoNodes, tmp_path: Path) -> None:
    connect(two_nodes.address)
    begun: list[Any] = []
    with RayExecutor(SLOTS, runner=until_told) as pool:
        futures = [pool.submit(config(seed), tmp_path / str(seed), on_event=begun.append) for seed in range(2)]
        wait_until(lambda: len(begun) == 2)
        pool.stop(tmp_path / "0")
        stopped = futures[0].result()
        assert (stopped.status, stopped.message) == ("interrupted", "1 signals")
        assert not futures[1].done()
        assert pool.submit(config(0), tmp_path / "0").result().steps == 2, "what was told before is over"
        pool.stop(tmp_path / "1")
        assert futures[1].result().status == "interrupted"
