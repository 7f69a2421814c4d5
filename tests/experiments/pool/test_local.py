"""The pool, with real worker processes."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import CancelledError
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
import pytest

from grng.errors import DirectoryInUseError, GrngError
from grng.experiments.pool.local import Cancelled, LocalExecutor, WorkerDied
from grng.experiments.pool.slots import Slot
from grng.runs.config import RunConfig
from grng.runs.identity import run_id
from grng.runs.result import RunResult
from grng.runs.rundir import RunDirectory
from grng.runs.sections import DatasetConfig, TrainingConfig
from tests.experiments import runners

CORE = min(os.sched_getaffinity(0))
SLOT = Slot((CORE,), 1)


def config(seed: int = 0) -> RunConfig:
    """A config as `resolve` leaves it, in what run ids need."""
    dataset, training = DatasetConfig(name="mnist5k", img_size=32), TrainingConfig(steps=2, target=0.95)
    return RunConfig(seed=seed, dataset=dataset, training=training)


def wait_for(path: Path, *, seconds: float = 60.0) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_gone(pid: int, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def test_a_worker_is_pinned_and_its_server_is_bare(tmp_path: Path) -> None:
    stop: Any = forkserver._forkserver._stop  # type: ignore[attr-defined]
    stop()  # one that another test has started loads what that test needs
    events: list[Any] = []
    with LocalExecutor([Slot((CORE,), 1, "7")], runner=runners.look) as pool:
        futures = [pool.submit(config(seed), tmp_path / str(seed), on_event=events.append) for seed in range(2)]
        seen = [ast.literal_eval(future.result().message or "") for future in futures]
    for one in seen:
        assert one["cores"] == [CORE]
        assert one["threads"] == 1
        assert one["gpu"] == "7"
        assert one["server_threads"] == 1, "a fork of a process with threads may hang"
        assert not one["cuda"]
        assert one["preloaded"]
        assert one["session"] != os.getsid(0)
        assert not one["time_shared"]
        assert not one["rerun"]
    assert seen[0]["pid"] != seen[1]["pid"] != os.getpid()
    assert events == [{"seed": 0}, {"seed": 1}]


def test_what_the_slot_shares_and_what_is_rerun_is_passed_on(tmp_path: Path) -> None:
    with LocalExecutor([Slot((), 2, time_shared=True)], runner=runners.look) as pool:
        seen = ast.literal_eval(pool.submit(config(), tmp_path, rerun=True).result().message or "")
    assert seen["time_shared"]
    assert seen["rerun"]
    assert seen["threads"] == 2
    assert set(seen["cores"]) == os.sched_getaffinity(0)


def test_a_killed_worker_costs_a_retry(tmp_path: Path) -> None:
    events: list[Any] = []
    with LocalExecutor([SLOT], runner=runners.die_once) as pool:
        result = pool.submit(config(), tmp_path / "run", on_event=events.append, rerun=True).result()
    assert result.status == "finished"
    assert result.message == "rerun=False", "a retry resumes"
    (died,) = events
    assert isinstance(died, WorkerDied)
    assert (died.reason, died.retried) == ("killed by SIGKILL", True)


def test_a_worker_that_dies_twice_fails_its_run_alone(tmp_path: Path) -> None:
    with LocalExecutor([SLOT], runner=runners.die) as pool:
        futures = [pool.submit(config(seed), tmp_path / str(seed)) for seed in range(3)]
        results = [future.result() for future in futures]
    assert [result.status for result in results] == ["finished", "failed", "finished"]
    assert results[1].reason == "crash"
    assert results[1].message is not None
    assert "died twice; the last time killed by SIGKILL: the last words of the worker" in results[1].message
    assert RunResult.load(tmp_path / "1" / "result.json") == results[1]


def test_what_a_worker_prints_leaves_no_file_behind_whoever_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    seen: list[list[Path]] = []
    with LocalExecutor([SLOT], runner=runners.look) as pool:
        monkeypatch.setattr(tempfile, "tempdir", str(place))  # now that the server has its socket elsewhere
        run = pool.submit(config(), tmp_path / "run", on_event=lambda event: seen.append(list(place.iterdir())))
        run.result()
    assert seen == [[]]


def test_a_worker_that_the_kernel_kills_for_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(100))
    monkeypatch.setattr("grng.experiments.pool.local.kernel_kills", lambda: {"memory.events": next(counts)})
    events: list[Any] = []
    run = RunConfig.model_validate({**config(1).model_dump(), "optimizer": {"name": "ring", "curvature_batch": 0.5}})
    with LocalExecutor([SLOT], runner=runners.die) as pool:
        result = pool.submit(run, tmp_path / "run", on_event=events.append).result()
    assert [event.reason.partition(":")[0] for event in events[:2]] == [
        "killed by SIGKILL, by the kernel, since memory ran out"
    ] * 2
    assert (result.status, result.reason) == ("failed", "oom")
    assert result.message is not None
    assert "--grad-accum 2 (now 1; the batch stays 128)" in result.message
    assert "--opt curvature_batch=0.25 (now 0.5; in a comparison ring[curvature_batch=0.25])" in result.message


def test_a_run_that_takes_too_long_saves_itself_and_has_failed(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "0").prepare(config())
    with LocalExecutor([SLOT], runner=runners.wait_long, timeout=2.0) as pool:
        slow = pool.submit(config(), tmp_path / "0").result()
    assert (slow.status, slow.reason) == ("failed", "timeout")
    assert slow.message == "stopped after 2 s (--timeout); it saved itself, and goes on when it is run again"
    assert RunResult.load(tmp_path / "0" / "result.json") == slow
    assert (tmp_path / "0" / "signals").read_text() == str(int(signal.SIGTERM))


def test_a_run_that_does_not_heed_its_time_is_killed_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grng.experiments.pool.deadline.GRACE_SECONDS", 0.2)
    for seed in range(2):
        RunDirectory(tmp_path / str(seed)).prepare(config(seed))
    with LocalExecutor([SLOT], runner=runners.ignore_everything, timeout=1.5) as pool:
        futures = [pool.submit(config(seed), tmp_path / str(seed)) for seed in range(2)]
        pid = int(wait_for(tmp_path / "0" / "pid"))
        results = [future.result() for future in futures]
    assert [result.reason for result in results] == ["timeout"] * 2
    assert "did not save itself in time" in (results[0].message or "")
    assert not is_alive(pid)


def test_a_run_that_another_process_has_done_since_starts_no_worker(tmp_path: Path) -> None:
    run = config()
    directory = tmp_path / "run"
    directory.mkdir()
    stored = runners.result_of(run).model_copy(update={"run_id": run_id(run), "steps": 77})
    stored.save(directory / "result.json")
    with LocalExecutor([SLOT], runner=runners.die) as pool:
        assert pool.submit(run, directory).result() == stored
        with RunDirectory(tmp_path).claim():
            held = pool.submit(run, tmp_path)
            assert isinstance(held.exception(timeout=10), DirectoryInUseError)


def test_errors_of_the_users_making_are_raised_and_faults_are_results(tmp_path: Path) -> None:
    with LocalExecutor([SLOT], runner=runners.complain) as pool:
        futures = [pool.submit(config(seed), tmp_path / str(seed)) for seed in range(3)]
        assert futures[0].result().status == "finished"
        with pytest.raises(GrngError) as caught:
            futures[1].result()
        failed = futures[2].result()
    assert str(caught.value) == f"{tmp_path / '1'}: the directory is in use. Wait."
    assert failed.status == "failed"
    assert failed.message is not None
    assert "raise Unpicklable" in failed.message, "the traceback is kept"


def test_cancelling_stops_what_runs_and_drops_what_waits(tmp_path: Path) -> None:
    pool = LocalExecutor([SLOT], runner=runners.wait_long)
    running = pool.submit(config(), tmp_path / "0")
    waiting = pool.submit(config(1), tmp_path / "1")
    pid = int(wait_for(tmp_path / "0" / "pid"))
    pool.shutdown(cancel=True)
    with pytest.raises(Cancelled):
        running.result(timeout=1)
    with pytest.raises(CancelledError):
        waiting.result(timeout=1)
    assert (tmp_path / "0" / "signals").read_text() == str(int(signal.SIGTERM)), "told once"
    assert not (tmp_path / "1").exists()
    assert not is_alive(pid)


def test_leaving_the_pool_by_an_exception_cancels(tmp_path: Path) -> None:
    pool = LocalExecutor([SLOT], runner=runners.wait_long)
    future = pool.submit(config(), tmp_path)
    wait_for(tmp_path / "pid")
    pool.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert isinstance(future.exception(timeout=1), Cancelled)


def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.experiments.pool.local.STOP_SECONDS", 0.5)
    pool = LocalExecutor([SLOT], runner=runners.ignore_everything)
    pool.submit(config(), tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    pool.shutdown(cancel=True)
    assert wait_until_gone(pid, seconds=5)


PARENT = """
import sys
from pathlib import Path
from grng.experiments.pool.local import LocalExecutor
from grng.experiments.pool.slots import Slot
from grng.runs.config import RunConfig
from tests.experiments import runners

if __name__ == "__main__":
    pool = LocalExecutor([Slot((), 1)], runner=getattr(runners, sys.argv[1]))
    pool.submit(RunConfig(), Path(sys.argv[2])).result()
"""


@pytest.mark.parametrize("runner", ["wait_long", pytest.param("ignore_everything", marks=pytest.mark.slow)])
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path, runner: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, str(script), runner, str(tmp_path / "run")], env=environment)
    pid = int(wait_for(tmp_path / "run" / "pid"))
    parent.kill()
    parent.wait()
    assert wait_until_gone(pid, seconds=6)


def test_one_run_alone_is_told_to_stop_once_and_saves_itself(tmp_path: Path) -> None:
    with LocalExecutor([SLOT, SLOT], runner=runners.until_told) as pool:
        futures = {name: pool.submit(config(), tmp_path / name) for name in ("this", "other", "waits")}
        wait_for_events = time.monotonic() + 60
        while len(pool._running) < 2 and time.monotonic() < wait_for_events:
            time.sleep(0.02)
        pool.stop(tmp_path / "waits")
        pool.stop(tmp_path / "this")
        assert futures["this"].result().status == "interrupted"
        assert futures["waits"].result().status == "interrupted", "it stops as soon as it has begun"
        assert not futures["other"].done()
        again = pool.submit(config(), tmp_path / "this").result()
        assert (again.status, again.steps) == ("finished", 2), "what was told before is over"
        pool.stop(tmp_path / "other")
        assert futures["other"].result().message == "1 signals"
