from __future__ import annotations

import hashlib
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.clock import PHASES
from grng.training.events import CheckpointSaved, EpochDone, Evaluated, Event, RunEnded, RunStarted, StepDone
from grng.training.order import BatchOrder
from grng.training.pairing import BatchChain
from grng.training.trainer import train
from tests.training.helpers import (
    SEVEN,
    STEPS_PER_EPOCH,
    checkpoint,
    difference,
    metrics,
    run_config,
    small_digits,
    untimed,
)

pytestmark = pytest.mark.usefixtures("small_data")


class Run:
    """A finished run with everything that it sent and wrote."""

    def __init__(self, directory: Path, config: RunConfig) -> None:
        self.directory = directory
        self.config = config
        self.events: list[Event] = []
        self.result = train(config, directory, listeners=[self.events.append])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_data: None) -> Run:
    return Run(tmp_path_factory.mktemp("runs") / "sgd", run_config())


def test_the_result_is_what_is_stored(run: Run) -> None:
    assert RunResult.load(run.directory / "result.json") == run.result
    assert run.result.status == "finished"
    assert run.result.reason is None
    assert (run.result.steps, run.result.planned_steps) == (10, 10)
    assert (run.result.optimizer, run.result.label) == ("sgd", "sgd")
    assert (run.result.model, run.result.dataset) == ("test_resnet", "digits")
    assert run.result.resumed_from_step is None
    assert run.result.environment.device == "cpu"
    assert run.result.environment.threads == torch.get_num_threads()


def test_the_written_config_reproduces_the_run(run: Run, tmp_path: Path) -> None:
    from grng.runs.loading import load_file

    train(load_file(run.directory / "config.yaml"), tmp_path / "again")
    assert untimed(tmp_path / "again") == untimed(run.directory)
    assert difference(checkpoint(tmp_path / "again"), checkpoint(run.directory)) is None


def test_another_seed_is_another_run(run: Run, tmp_path: Path) -> None:
    other = train(run_config(seed=1), tmp_path / "seed1")
    assert other.pairing.init_sha256 != run.result.pairing.init_sha256
    assert other.pairing.batches_sha256 != run.result.pairing.batches_sha256
    assert other.final.train_loss != run.result.final.train_loss


def test_the_events_come_in_their_order(run: Run) -> None:
    kinds = [type(event).__name__ for event in run.events]
    step, evaluated, epoch, saved = "StepDone", "Evaluated", "EpochDone", "CheckpointSaved"
    assert kinds == [
        "RunStarted",
        *(step, step, evaluated, step, evaluated, step, epoch, saved),
        *(step, evaluated, step, step, evaluated, step, epoch, saved),
        *(evaluated, step, evaluated, step, epoch, saved),
        "RunEnded",
    ]
    started, ended = run.events[0], run.events[-1]
    assert isinstance(started, RunStarted)
    assert (started.planned_steps, started.steps_per_epoch, started.resumed_from_step) == (10, STEPS_PER_EPOCH, None)
    assert started.directory == run.directory
    assert started.parameters["total"] == run.result.parameters.total
    assert isinstance(ended, RunEnded)
    assert ended == RunEnded(run.result, reused=False)
    assert [event.step for event in run.events if isinstance(event, StepDone)] == list(range(1, 11))
    assert [event.step for event in run.events if isinstance(event, CheckpointSaved)] == [4, 8, 10]


def test_metrics_have_the_lines_that_are_due(run: Run) -> None:
    lines = metrics(run.directory)
    places = [(line["kind"], line["step"], line["epoch"]) for line in lines]
    assert places == [
        *[("step", 1, 1), ("step", 2, 1), ("step", 3, 1), ("step", 4, 1), ("epoch", 4, 1)],
        *[("step", 6, 2), ("step", 8, 2), ("epoch", 8, 2)],
        *[("step", 9, 3), ("step", 10, 3), ("epoch", 10, 3)],
    ]
    evaluated = [(line["kind"], line["step"]) for line in lines if "val_loss" in line]
    assert evaluated == [("step", 3), ("epoch", 4), ("step", 6), ("epoch", 8), ("step", 9), ("epoch", 10)]
    for line in lines:
        assert isinstance(line["elapsed_s"], float)
        if line["kind"] == "step":
            assert {"train_loss", "train_accuracy", "lr", "optimizer/gradient_norm"} <= line.keys()
            assert 0 <= line["train_accuracy"] <= 1
        else:
            assert {"train_loss", "val_loss", "val_accuracy", "batches_sha256"} <= line.keys()
    assert all(a["elapsed_s"] <= b["elapsed_s"] for a, b in pairwise(lines))


def test_metrics_and_result_agree_with_the_events(run: Run) -> None:
    losses = {event.step: event.train_loss for event in run.events if isinstance(event, StepDone)}
    epochs = {event.epoch: event for event in run.events if isinstance(event, EpochDone)}
    assert all(line["train_loss"] == losses[line["step"]] for line in metrics(run.directory) if line["kind"] == "step")
    assert epochs[1].train_loss == pytest.approx(sum(losses[s] for s in (1, 2, 3, 4)) / 4, rel=1e-12)
    assert epochs[3].train_loss == pytest.approx((losses[9] + losses[10]) / 2, rel=1e-12)
    final = run.result.final
    assert final.train_loss == pytest.approx(sum(losses[s] for s in (7, 8, 9, 10)) / 4, rel=1e-12), "an epoch's length"
    assert (final.val_loss, final.val_accuracy) == (epochs[3].evaluation.val_loss, epochs[3].evaluation.val_accuracy)
    best = max(event.val_accuracy for event in run.events if isinstance(event, Evaluated))
    first = next(event for event in run.events if isinstance(event, Evaluated) and event.val_accuracy == best)
    assert (run.result.best.val_accuracy, run.result.best.epoch) == (best, first.epoch)


def test_the_final_scores_are_those_of_the_saved_weights(run: Run) -> None:
    """The oracle shares nothing with the trainer but the data and timm."""
    import timm

    model = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    model.load_state_dict(checkpoint(run.directory)["model"])
    model.eval()
    data = small_digits("digits", img_size=8)
    for split, loss, accuracy in (
        (data.val, run.result.final.val_loss, run.result.final.val_accuracy),
        (data.test, run.result.final.test_loss, run.result.final.test_accuracy),
    ):
        with torch.no_grad():
            outputs = model(split.images)
        assert torch.nn.functional.cross_entropy(outputs, split.labels).item() == pytest.approx(loss, rel=1e-5)
        assert (outputs.argmax(1) == split.labels).double().mean().item() == pytest.approx(accuracy)


def test_the_best_weights_are_kept(run: Run) -> None:
    best = checkpoint(run.directory, "best")
    assert best["val_accuracy"] == run.result.best.val_accuracy
    assert best["epoch"] == run.result.best.epoch
    assert best["model"].keys() == checkpoint(run.directory)["model"].keys()


def test_the_parts_of_a_step_sum_to_the_whole(run: Run) -> None:
    time = run.result.time
    assert time.step_ms is not None
    assert time.train_s is not None
    assert time.total_s is not None
    parts = [getattr(time, f"{phase}_ms") for phase in PHASES]
    assert sum(parts) == pytest.approx(time.step_ms, rel=0.05)
    assert time.train_s == pytest.approx(10 * time.step_ms / 1000)
    assert time.train_s < time.total_s
    assert metrics(run.directory)[-1]["elapsed_s"] == time.train_s
    assert time.shared is False


def test_memory_and_parameters_are_counted(run: Run) -> None:
    model = checkpoint(run.directory)["model"]
    weights = [v for name, v in model.items() if "running" not in name and "num_batches" not in name]
    assert run.result.parameters.total == run.result.parameters.trainable == sum(v.numel() for v in weights)
    assert run.result.memory.growth_mb is not None
    assert run.result.memory.growth_mb >= 0
    assert run.result.memory.peak_mb is not None
    assert run.result.memory.peak_mb > 100
    state = checkpoint(run.directory)["optimizer"]["state"]
    tensors = [v for entry in state.values() for v in entry.values() if isinstance(v, torch.Tensor)]
    assert run.result.memory.optimizer_state_bytes == sum(v.numel() * v.element_size() for v in tensors)


def test_the_pairing_hashes_are_what_they_say_they_are(run: Run) -> None:
    chain, order = BatchChain(), BatchOrder(140, 32, seed=0)
    after = {}
    for step in range(10):
        chain.update(order.batch(step))
        after[step + 1] = chain.hexdigest
    assert run.result.pairing.batches_sha256 == after[10]
    assert [line["batches_sha256"] for line in metrics(run.directory) if line["kind"] == "epoch"] == [
        after[4],
        after[8],
        after[10],
    ]


def test_all_optimizers_start_alike_and_see_the_same_batches(tmp_path: Path) -> None:
    results = [train(run_config(name, training={"steps": 5}), tmp_path / name) for name in SEVEN]
    assert len({result.pairing.init_sha256 for result in results}) == 1
    assert len({result.pairing.batches_sha256 for result in results}) == 1
    first_losses = {metrics(tmp_path / name)[0]["train_loss"] for name in SEVEN}
    assert len(first_losses) == 1, "the same weights, batch and dropout mask: the same first loss"
    assert len({result.final.train_loss for result in results}) == len(SEVEN)
    assert all(result.status == "finished" for result in results)


def test_initial_weights_do_not_depend_on_the_caller(tmp_path: Path, run: Run) -> None:
    torch.manual_seed(99)
    torch.rand(7)
    again = train(run_config(), tmp_path / "again")
    assert again.pairing == run.result.pairing
    assert untimed(tmp_path / "again") == untimed(run.directory)


def test_a_finished_run_is_reused(run: Run) -> None:
    files = {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}
    events: list[Event] = []
    assert train(run.config, run.directory, listeners=[events.append]) == run.result
    assert events == [RunEnded(run.result, reused=True)]
    assert {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()} == files


def test_rerun_starts_afresh(tmp_path: Path, run: Run) -> None:
    config = run_config(logging={"tensorboard": True})
    first = train(config, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    second = train(config, tmp_path / "run", on_existing="rerun")
    assert second.created > first.created
    assert second.resumed_from_step is None
    assert untimed(tmp_path / "run") == untimed(run.directory)
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 1
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_budget_in_epochs(tmp_path: Path) -> None:
    config = run_config(training={"steps": None, "epochs": 2, "eval_every": None})
    result = train(config, tmp_path / "run")
    assert (result.epochs, result.steps, result.planned_steps) == (2, 8, 8)
    lines = metrics(tmp_path / "run")
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2]
    assert result.final.train_loss == lines[-1]["train_loss"]
    assert [line["kind"] for line in lines if "val_loss" in line] == ["epoch", "epoch"]


def test_the_learning_rate_follows_the_schedule_for_every_group(tmp_path: Path) -> None:
    result = train(run_config(training={"schedule": "cosine", "warmup": 2}, logging={"log_every": 1}), tmp_path / "run")
    base = result.hyperparameters["lr"]
    assert isinstance(base, float)
    rates = [line["lr"] for line in metrics(tmp_path / "run") if line["kind"] == "step"]
    expected = [0.5, 1.0] + [0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert rates == pytest.approx([base * factor for factor in expected])


def test_the_target_is_recorded_with_step_and_time(tmp_path: Path) -> None:
    result = train(run_config(training={"target": 0.01}), tmp_path / "run")
    line = next(line for line in metrics(tmp_path / "run") if "val_loss" in line)
    assert (result.target.accuracy, result.target.step, result.target.time_s) == (0.01, 3, line["elapsed_s"])


def test_metrics_hold_no_nan(run: Run) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    for line in (run.directory / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_a_checkpoint_is_written_as_often_as_asked(tmp_path: Path) -> None:
    saved: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            saved.append(event.step)
            digests.add(hashlib.sha256(event.path.read_bytes()).hexdigest())

    digests: set[str] = set()
    train(run_config(logging={"checkpoint_every": 3}), tmp_path / "count", listeners=[listener])
    assert saved == [3, 4, 6, 8, 9, 10]
    assert len(digests) == len(saved)
    saved.clear()
    train(run_config(logging={"checkpoint_seconds": 1e-9}), tmp_path / "time", listeners=[listener])
    assert saved == list(range(1, 11))
