"""A comparison on two nodes, of which one dies in the midst of a run."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from grng.experiments.compare import compare, prepare
from grng.experiments.compare_config import CompareConfig
from grng.experiments.on_ray.executor import RayExecutor
from grng.experiments.plan import PlannedRun
from grng.experiments.pool.config import PoolConfig
from grng.experiments.pool.local import WorkerDied
from grng.runs.result import RunResult
from tests.engines import runners
from tests.engines.conftest import TwoNodes
from tests.waiting import wait_until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

STEPS = 24
EVERY = 5


def config(output: Path, **more: Any) -> CompareConfig:
    """Two runs: one on each node."""
    given = {
        "optimizers": "ring,adamw",
        "seeds": [0],
        "model": "test_vit",
        "dataset": {"name": "digits", "img_size": 32},
        "training": {"steps": STEPS, "batch_size": 32, "eval_every": 8},
        "logging": {"checkpoint_every": EVERY, "checkpoint_seconds": 1e6, "log_every": 1, "tensorboard": False},
        "output": output,
        "machine": {"device": "cpu", "threads": 1},
        **more,
    }
    return CompareConfig.model_validate(given)


def losses(directory: Path) -> list[Any]:
    """Return what was trained and measured, step by step, without times."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [[line.get(key) for key in ("step", "train_loss", "train_accuracy", "val_loss")] for line in lines]


def test_a_comparison_survives_the_death_of_a_node(two_nodes: TwoNodes, tmp_path: Path) -> None:
    place = tmp_path / "x"
    prepared = prepare(config(place, pool=PoolConfig(engine="ray", address=two_nodes.address)))
    assert len(prepared.slots) == 2
    assert not place.exists(), "nothing is written before the first run"

    events: list[tuple[str, Any]] = []

    def listen(run: PlannedRun, event: Any) -> None:
        events.append((run.label, event))

    with ThreadPoolExecutor(1) as aside, RayExecutor(prepared.slots, runner=runners.held) as pool:
        running = aside.submit(compare, prepared, on_event=listen, executor=pool)
        wait_until(lambda: running.done() or len(list(tmp_path.glob("held-*"))) == 2, seconds=600)
        doomed, worker = next(
            (path.name.split("-")[1], int(pid))
            for path in tmp_path.glob("held-*")
            for node, pid in [path.read_text().split()]
            if node == two_nodes.second.node_id
        )
        two_nodes.kill_second(worker)
        (tmp_path / "let-go").touch()
        done = running.result()

    assert [result.status for result in done.results] == ["finished"] * 2
    died = [(label, event) for label, event in events if isinstance(event, WorkerDied)]
    assert [(label, event.reason.split(":")[0], event.retried) for label, event in died] == [
        (doomed, "its machine is gone", True)
    ]
    begun = [(label, event.resumed_from_step) for label, event in events if type(event).__name__ == "RunStarted"]
    assert sorted(begun, key=str) == sorted([("ring", None), ("adamw", None), (doomed, 2 * EVERY)], key=str)
    assert not list(place.rglob(".*.log")), "what the processes printed is gone"

    compare(config(tmp_path / "straight", workers=0))
    for label in ("ring", "adamw"):
        one, other = place / label / "seed0", tmp_path / "straight" / label / "seed0"
        assert losses(one) == losses(other), "bit for bit those of one machine without a death"
        assert len(losses(one)) >= STEPS
        assert RunResult.load(one / "result.json").final == RunResult.load(other / "result.json").final
