"""Several processes that do the runs of one experiment: each run once, each result taken by all."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from grng.errors import DirectoryInUseError, RunDirectoryError
from grng.experiments import gathering
from grng.experiments.gathering import Gathering
from grng.experiments.plan import PlannedRun
from grng.experiments.pool.elsewhere import RunsElsewhere
from grng.experiments.pool.executor import EventHandler, Executor
from grng.runs.config import RunConfig
from grng.runs.identity import run_id
from grng.runs.result import RunResult
from grng.runs.rundir import RunDirectory
from grng.runs.sections import DatasetConfig, TrainingConfig
from tests.experiments import runners


def planned(root: Path, count: int) -> list[PlannedRun]:
    def config(seed: int) -> RunConfig:
        dataset, training = DatasetConfig(name="mnist5k", img_size=32), TrainingConfig(steps=2, target=0.95)
        return RunConfig(seed=seed, dataset=dataset, training=training)

    return [PlannedRun("sgd", seed, config(seed), root / f"seed{seed}") for seed in range(count)]


def finish(run: PlannedRun, **changes: Any) -> RunResult:
    result = runners.result_of(run.config).model_copy(update={"run_id": run_id(run.config), **changes})
    run.directory.mkdir(parents=True, exist_ok=True)
    result.save(run.directory / "result.json")
    return result


class Pool(Executor):
    """Does what it is told at once; a run that is held elsewhere is refused, as a worker refuses it."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def submit(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler | None = None, rerun: bool = False
    ) -> Future[RunResult]:
        future: Future[RunResult] = Future()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with RunDirectory(directory).claim():
                self.done.append(config.seed)
                future.set_result(finish(PlannedRun("sgd", config.seed, config, directory)))
        except RunDirectoryError as error:
            future.set_exception(error)
        return future

    def stop(self, directory: Path) -> None: ...

    def shutdown(self, *, cancel: bool = False) -> None: ...


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "POLL_SECONDS", 0.02)


def gather(runs: list[PlannedRun], pool: Pool, *, rerun: bool = False) -> tuple[list[RunResult], list[Any]]:
    events: list[Any] = []
    results = Gathering(runs, {}, pool, (), lambda run, event: events.append((run.seed, event)), rerun).run()
    return results, events


def test_a_run_that_another_process_does_is_waited_for_and_its_result_taken(tmp_path: Path) -> None:
    runs, pool = planned(tmp_path, 3), Pool()
    RunDirectory(runs[1].directory).prepare(runs[1].config)
    claim = RunDirectory(runs[1].directory).claim()
    claim.__enter__()

    def end() -> None:
        finish(runs[1], steps=77)
        claim.__exit__(None, None, None)

    threading.Timer(0.2, end).start()
    results, events = gather(runs, pool)
    assert pool.done == [0, 2], "each run once"
    assert results[1].steps == 77
    kinds = [type(event).__name__ for seed, event in events if seed == 1]
    assert kinds == ["RunsElsewhere", "RunEnded"]
    assert "process" in next(event.who for _, event in events if isinstance(event, RunsElsewhere))


def test_a_run_whose_process_is_gone_is_done_here(tmp_path: Path) -> None:
    runs, pool = planned(tmp_path, 2), Pool()
    RunDirectory(runs[0].directory).prepare(runs[0].config)
    claim = RunDirectory(runs[0].directory).claim()
    claim.__enter__()
    threading.Timer(0.2, lambda: claim.__exit__(None, None, None)).start()
    gather(runs, pool)
    assert pool.done == [1, 0]


def test_a_failure_that_another_process_met_meanwhile_is_not_tried_again(tmp_path: Path) -> None:
    runs, pool = planned(tmp_path, 1), Pool()
    finish(runs[0], status="failed", reason="crash")
    results, _ = gather(runs, pool)
    assert results[0].status == "finished", "one from before is tried again"

    runs = planned(tmp_path / "other", 1)
    RunDirectory(runs[0].directory).prepare(runs[0].config)
    claim = RunDirectory(runs[0].directory).claim()
    claim.__enter__()

    def end() -> None:
        finish(runs[0], status="failed", reason="oom")
        claim.__exit__(None, None, None)

    threading.Timer(0.2, end).start()
    results, _ = gather(runs, pool)
    assert (results[0].status, results[0].reason) == ("failed", "oom")


def test_a_rerun_does_not_share(tmp_path: Path) -> None:
    runs = planned(tmp_path, 1)
    RunDirectory(runs[0].directory).prepare(runs[0].config)
    with RunDirectory(runs[0].directory).claim(), pytest.raises(DirectoryInUseError):
        gather(runs, Pool(), rerun=True)


class Counted(Future[RunResult]):
    """A future that counts how often it is asked."""

    asked = 0

    def done(self) -> bool:
        Counted.asked += 1
        return super().done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        Counted.asked += 1
        return super().exception(timeout)


class Slowly(Executor):
    """Has all runs wait, and ends them one after the other, the last one first."""

    def __init__(self) -> None:
        self.waiting: list[tuple[RunConfig, Future[RunResult]]] = []

    def submit(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler | None = None, rerun: bool = False
    ) -> Future[RunResult]:
        self.waiting.append((config, Counted()))
        return self.waiting[-1][1]

    def end_all(self) -> None:
        while self.waiting:
            config, future = self.waiting.pop()
            future.set_result(runners.result_of(config))

    def stop(self, directory: Path) -> None: ...

    def shutdown(self, *, cancel: bool = False) -> None: ...


def test_a_run_that_ends_costs_the_same_however_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "asked", 0)
    runs, pool = planned(tmp_path, 400), Slowly()
    gathering_ = Gathering(runs, {}, pool, (), lambda run, event: None, False)
    threading.Timer(0.1, pool.end_all).start()
    results = gathering_.run()
    assert [result.seed for result in results] == list(range(400)), "in the plan's order, whichever ended first"
    assert Counted.asked <= 2 * 400
