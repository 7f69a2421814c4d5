"""Workers that die within a sweep and a comparison: a retry each, then the run has failed and the rest goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from grng.experiments.gathering import Gathering
from grng.experiments.plan import PlannedRun
from grng.experiments.pool.executor import EventHandler
from grng.experiments.pool.local import LocalExecutor, WorkerDied
from grng.experiments.pool.slots import Slot
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.plan import prepare
from grng.experiments.sweeps.sweep import sweep
from grng.runs.config import RunConfig
from grng.runs.result import Final, RunResult
from grng.runs.sections import DatasetConfig, TrainingConfig
from tests.experiments.runners import result_of

pytestmark = pytest.mark.slow

SLOT = Slot((min(os.sched_getaffinity(0)),), 1)
ONCE, TWICE = 1, 2


class Dying:
    """A runner that is killed, once or at every attempt, in the runs whose directory has this number.

    Args:
        root: Above the runs' directories.
        notes: Where it counts its attempts: a run's directory is the run's.
        deaths: How often, by the number in a directory's name.
    """

    def __init__(self, root: Path, notes: Path, deaths: dict[str, int]) -> None:
        self.root = root
        self.notes = notes
        self.deaths = deaths

    def __call__(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
    ) -> RunResult:
        name = directory.relative_to(self.root).parts[0]
        self.notes.mkdir(exist_ok=True)
        tries = self.notes / name
        count = len(tries.read_text()) if tries.exists() else 0
        tries.write_text("x" * (count + 1))
        if count < self.deaths.get(name, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        return result_of(config).model_copy(update={"final": Final(val_accuracy=0.5, val_loss=1.0)})


def ends(events: Sequence[Any]) -> list[bool]:
    """Return whether a run was tried again, for each worker that died."""
    return [event.retried for event in events if isinstance(event, WorkerDied)]


@pytest.mark.parametrize(("kernel", "reason"), [(False, "crash"), pytest.param(True, "oom", marks=pytest.mark.slow)])
def test_of_a_sweep(kernel: bool, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(100))
    monkeypatch.setattr("grng.experiments.pool.local.kernel_kills", lambda: {"x": next(counts) if kernel else 0})
    monkeypatch.setattr("grng.experiments.preflight.check", lambda configs, **given: ())
    config = {"optimizer": "adamw", "dataset": "digits", "model": "test_vit", "workers": 0, "trials": 3}
    ready = prepare(SweepConfig.model_validate({**config, "output": str(tmp_path / "x")}))
    events: dict[int, list[Any]] = {number: [] for number in range(3)}
    runner = Dying(tmp_path / "x" / "trials", tmp_path / "notes", {"0000": TWICE, "0001": ONCE})
    with LocalExecutor([SLOT], runner=runner) as pool:
        summary = sweep(ready, executor=pool, on_event=lambda trial, seed, event: events[trial.number].append(event))
    assert [ends(events[number]) for number in range(3)] == [[True, False], [True], []]
    assert [trial.status for trial in summary.trials] == ["failed", "finished", "finished"]
    assert (summary.trials[0].runs[0].reason, summary.trials[0].value) == (reason, 0.0)
    assert summary.best is not None
    assert summary.best.number in (1, 2)
    stored = RunResult.load(tmp_path / "x" / "trials" / "0000" / "seed1000000" / "result.json")
    assert (stored.status, stored.reason) == ("failed", reason)


def test_of_a_comparison(tmp_path: Path) -> None:
    dataset, training = DatasetConfig(name="mnist5k", img_size=32), TrainingConfig(steps=2, target=0.95)
    runs = [
        PlannedRun("sgd", seed, RunConfig(seed=seed, dataset=dataset, training=training), tmp_path / f"seed{seed}")
        for seed in range(3)
    ]
    events: list[tuple[int, Any]] = []
    with LocalExecutor([SLOT], runner=Dying(tmp_path, tmp_path / "notes", {"seed0": TWICE, "seed1": ONCE})) as pool:
        results = Gathering(
            runs, {}, pool, [SLOT], lambda run, event: events.append((run.seed, event)), rerun=False
        ).run()
    assert [result.status for result in results] == ["failed", "finished", "finished"]
    assert "died twice; the last time killed by SIGKILL" in (results[0].message or "")
    assert [ends([event for at, event in events if at == seed]) for seed in range(3)] == [[True, False], [True], []]
    assert RunResult.load(tmp_path / "seed0" / "result.json") == results[0]
