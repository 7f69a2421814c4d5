"""Diagnostics of whole runs: right values at the right steps, and no trace of them on what is trained."""

from __future__ import annotations

import math
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grng.diagnostics.measure import Diagnostics
from grng.diagnostics.names import DIAGNOSTICS, value_names
from grng.errors import GrngError
from grng.models import PreparedModel
from grng.optimizers import list_optimizers
from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.building import build_session
from grng.training.seeding import preserved_rng
from grng.training.session import Session
from grng.training.trainer import train
from tests.oracles.nets import Squares, flat
from tests.tiers import tiered
from tests.training.helpers import (
    at_step,
    checkpoint,
    difference,
    interrupt_when,
    metrics,
    run_config,
    small_digits,
    untimed,
)

pytestmark = pytest.mark.usefixtures("small_data")

OPTIMIZERS = [*(info.name for info in list_optimizers()), "timm:lamb"]
VALUES = value_names(DIAGNOSTICS)
KEYS = [f"diagnostics/{name}" for name in VALUES]


def diagnosed(optimizer: Any = "sgd", *, every: int = 2, steps: int = 7, names: Any = "all", **more: Any) -> RunConfig:
    section = {"names": names, "every": every, "samples": 32, "batch": 20, "iterations": 2} | more.pop(
        "diagnostics", {}
    )
    return run_config(optimizer, training={"steps": steps}, diagnostics=section, **more)


def stripped(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if not key.startswith("diagnostics/")} for line in lines]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_data: None) -> Path:
    directory = tmp_path_factory.mktemp("diagnosed") / "run"
    train(diagnosed(logging={"tensorboard": True}), directory)
    return directory


@pytest.mark.parametrize("optimizer", tiered(OPTIMIZERS, ["sgd", "ring"]))
def test_the_run_is_bit_for_bit_the_one_without_and_resumes_as_itself(tmp_path: Path, optimizer: str) -> None:
    train(run_config(optimizer, training={"steps": 7}), tmp_path / "without")
    train(diagnosed(optimizer), tmp_path / "with")
    assert stripped(untimed(tmp_path / "with")) == untimed(tmp_path / "without")
    left, right = checkpoint(tmp_path / "with"), checkpoint(tmp_path / "without")
    assert left.pop("diagnosed")["step"] == 7
    assert right.pop("diagnosed")["step"] is None
    assert difference(left, right) is None
    finite = [line[key] for line in metrics(tmp_path / "with") if line["step"] == 4 for key in KEYS if key in line]
    assert len(finite) == len(KEYS)
    assert None not in finite

    def crash(event: Any) -> None:
        if at_step(5)(event):
            raise SystemExit

    config = diagnosed(optimizer, logging={"checkpoint_every": 3})
    with pytest.raises(SystemExit):
        train(config, tmp_path / "resumed", listeners=[crash])
    resumed = train(config, tmp_path / "resumed")
    assert resumed.resumed_from_step == 4
    assert untimed(tmp_path / "resumed") == untimed(tmp_path / "with")
    straight = RunResult.load(tmp_path / "with" / "result.json")
    assert resumed.diagnostics.model_dump(exclude={"seconds"}) == straight.diagnostics.model_dump(exclude={"seconds"})


def test_they_are_on_the_lines_that_are_due_and_at_the_end(run: Path) -> None:
    lines = metrics(run)
    assert [line["step"] for line in lines if KEYS[0] in line] == [2, 4, 6, 7]
    assert all([key for key in line if key.startswith("diagnostics/")] == KEYS for line in lines if KEYS[0] in line)
    assert all(line["kind"] == "step" for line in lines if KEYS[0] in line)
    found = RunResult.load(run / "result.json").diagnostics
    last = next(line for line in reversed(lines) if KEYS[0] in line)
    assert (found.step, found.samples) == (7, 32)
    assert {name: getattr(found, name) for name in VALUES} == {name: last[f"diagnostics/{name}"] for name in VALUES}
    assert found.seconds is not None
    assert found.seconds > 0


def test_tensorboard_has_them(run: Path) -> None:
    from tests.training.test_tensorboard import board, expected, scalars

    reader = board(run)
    for key in KEYS:
        assert scalars(reader, key) == expected(run, "step", key)


def test_a_step_that_is_only_measured_has_a_line_and_no_optimizer_diagnostics(tmp_path: Path) -> None:
    train(diagnosed(every=5, names="grad_norm"), tmp_path / "run")
    (line,) = (line for line in metrics(tmp_path / "run") if line["step"] == 5)
    assert line.keys() == {"kind", "step", "epoch", "elapsed_s", "train_loss", "lr", "diagnostics/grad_norm"}


def test_only_what_is_asked_for_is_measured(tmp_path: Path) -> None:
    result = train(diagnosed(every=100, names=["step_cosine"]), tmp_path / "run")
    measured = result.diagnostics.model_dump(exclude_none=True)
    assert measured.keys() == {"step", "samples", "step_cosine", "seconds"}
    assert [line["step"] for line in metrics(tmp_path / "run") if "diagnostics/step_cosine" in line] == [7]


def test_a_run_without_has_none(tmp_path: Path) -> None:
    result = train(run_config(training={"steps": 2}), tmp_path / "run")
    assert set(result.diagnostics.model_dump().values()) == {None}


def session_of(optimizer: str, **more: Any) -> Session:
    return build_session(diagnosed(optimizer, every=1, steps=100, **more))


@pytest.mark.parametrize("optimizer", tiered(OPTIMIZERS, ["sgd", "ring", "r-kalman", "sam"]))
def test_minibatch_gradients_are_those_that_the_optimizer_is_given(optimizer: str) -> None:
    """Recorded at the optimizer's door, with dropout, drop path and BatchNorm; two at a time over an epoch's end."""
    with preserved_rng(), closing(session_of(optimizer, names=["grad_correlation_consecutive"])) as session:
        given: list[Tensor] = []

        def record(door: Any, *arguments: Any) -> None:
            given.append(flat([p.grad for p in session.model.parameters() if p.grad is not None]).double())

        session.torch_optimizer.register_step_pre_hook(record)
        found = []
        for _ in range(6):
            outcome = session.advance(diagnose=True)
            session.progress.record_step(outcome.loss)
            found.append(outcome.diagnostics["grad_correlation_consecutive"])
    expected = [np.corrcoef(given[k], given[k + 1])[0, 1] for k in range(5)]
    assert found[:5] == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert len({round(value, 6) for value in found}) == 6


@pytest.mark.parametrize("batchnorm", ["batch", "running"])
def test_the_samples_gradient_is_the_one_of_the_loss_over_it(batchnorm: str) -> None:
    """An oracle of its own for `grad_norm`, `step_cosine` and `grad_correlation_sample`."""
    section = {"samples": 30, "batch": 30, "batchnorm": batchnorm}
    with preserved_rng(), closing(session_of("sgd", diagnostics=section)) as session:
        session.progress.record_step(session.advance().loss)
        assert session.diagnostics is not None
        ((images, labels),) = session.diagnostics._diagnostics.sample._chunks
        given: list[Tensor] = []
        session.torch_optimizer.register_step_pre_hook(
            lambda *arguments: given.append(flat([p.grad for p in session.model.parameters() if p.grad is not None]))
        )
        before, weights = (
            full_gradient(session.model, images, labels, batchnorm),
            flat(list(session.model.parameters())),
        )
        values = session.advance(diagnose=True).diagnostics
        after, step = (
            full_gradient(session.model, images, labels, batchnorm),
            flat(list(session.model.parameters())) - weights,
        )
    assert values["grad_norm"] == pytest.approx(float(after.double().norm()), rel=1e-5)
    assert values["step_cosine"] == pytest.approx(float(F.cosine_similarity(step, -before, dim=0)), rel=1e-4)
    assert values["grad_correlation_sample"] == pytest.approx(np.corrcoef(given[0], before)[0, 1], rel=1e-4)


def full_gradient(model: nn.Module, images: Tensor, labels: Tensor, batchnorm: str) -> Tensor:
    import timm

    twin = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    twin.load_state_dict(model.state_dict())
    twin.eval()
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d) and batchnorm == "batch":
            module.train()
    return flat(torch.autograd.grad(F.cross_entropy(twin(images), labels), list(twin.parameters())))


def test_the_sample_is_fixed_by_the_seed_and_a_part_of_the_training_set() -> None:
    def sample(seed: int, samples: int) -> Tensor:
        section = {"samples": samples, "batch": 1000}
        with preserved_rng(), closing(build_session(diagnosed(seed=seed, diagnostics=section))) as session:
            assert session.diagnostics is not None
            ((images, _),) = session.diagnostics._diagnostics.sample._chunks
            return images

    train_images = {tuple(image.flatten().tolist()) for image in small_digits("digits", img_size=8).train.images}
    one = sample(0, 32)
    assert len(one) == 32
    assert {tuple(image.flatten().tolist()) for image in one} <= train_images
    assert torch.equal(one, sample(0, 32))
    assert not torch.equal(one, sample(1, 32))
    assert len(sample(0, 10_000)) == 140, "no more than there are"


def test_the_training_clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Diagnostics.minibatch_gradient

    def slower(*arguments: Any) -> Any:
        time.sleep(0.3)
        return slow(*arguments)

    monkeypatch.setattr(Diagnostics, "minibatch_gradient", slower)
    with preserved_rng(), closing(session_of("sgd", names=["grad_correlation_consecutive"])) as session:
        session.advance(diagnose=True)
        assert session.clock.elapsed_s < 0.3
        assert session.diagnosed.seconds is not None
        assert session.diagnosed.seconds > 0.6


def test_what_cannot_be_measured_is_missing_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grng.diagnostics.sample import FixedSample

    def broken(self: Any, model: nn.Module, *arguments: Any, **more: Any) -> list[Tensor]:
        return [torch.full_like(p, math.nan) for p in model.parameters()]

    monkeypatch.setattr(FixedSample, "gradient", broken)
    monkeypatch.setattr(FixedSample, "product", broken)
    names = ["hessian_max", "grad_norm", "step_cosine", "grad_correlation_consecutive"]
    result = train(diagnosed(names=names, logging={"tensorboard": True}), tmp_path / "run")
    assert result.status == "finished"
    assert (result.diagnostics.hessian_max, result.diagnostics.grad_norm, result.diagnostics.step_cosine) == (None,) * 3
    assert result.diagnostics.grad_correlation_consecutive is not None
    line = next(line for line in metrics(tmp_path / "run") if line["step"] == 2)
    assert line["diagnostics/hessian_max"] is line["diagnostics/grad_norm"] is None
    from tests.training.test_tensorboard import board

    tags = board(tmp_path / "run").Tags()["scalars"]
    assert [tag for tag in tags if tag.startswith("diagnostics/")] == ["diagnostics/grad_correlation_consecutive"]


def test_a_diverging_run_ends_as_without(tmp_path: Path) -> None:
    config = {"optimizer": {"name": "sgd", "lr": 1e30}}
    result = train(diagnosed(config["optimizer"], every=1), tmp_path / "run")
    assert (result.status, result.reason) == ("diverged", "nan")
    assert result.diagnostics.step is not None
    assert result.diagnostics.step < result.steps


def test_measuring_may_begin_or_end_when_a_run_goes_on(tmp_path: Path, run: Path) -> None:
    from grng.training.errors import Interrupted

    directory = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(diagnosed(), directory, listeners=[interrupt_when(at_step(3))])
    stopped = RunResult.load(directory / "result.json").diagnostics
    result = train(run_config(training={"steps": 7}), directory)
    assert result.resumed_from_step == 3
    assert stopped.step == 2
    assert result.diagnostics == stopped, "what was measured before is kept"
    assert difference(checkpoint(directory)["model"], checkpoint(run)["model"]) is None


def test_a_model_without_double_backward_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Squared(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = Squares.apply(x)
            return out

    def prepare(*arguments: Any, **more: Any) -> PreparedModel:
        return PreparedModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Squared(), nn.Linear(8, 10)), None, ())

    monkeypatch.setattr("grng.training.building.prepare_model", prepare)
    with pytest.raises(GrngError, match="has no double backward") as caught:
        train(diagnosed(), tmp_path / "run")
    assert caught.value.where == "diagnostics.names"
    assert not (tmp_path / "run").exists()
    names = [name for name, info in DIAGNOSTICS.items() if not info.hessian]
    assert train(diagnosed(names=names), tmp_path / "run").status == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["ring", "reng", "r-kalman", "adamw"])
def test_a_killed_run_goes_on_with_the_same_numbers(tmp_path: Path, optimizer: str) -> None:
    import multiprocessing

    from tests.training.test_processes import begin, kill, wait_for_step

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.test_processes"])
    config = diagnosed(
        optimizer,
        steps=24,
        logging={"log_every": 1, "checkpoint_every": 3},
        machine={"device": "cpu", "threads": 1},
    )
    train(config, tmp_path / "straight")
    for step in (4, 11, 17):
        process = begin(context, config, tmp_path / "run")
        wait_for_step(process, tmp_path / "run", step)
        kill(process)
        process.join()
    result = train(config, tmp_path / "run")
    assert untimed(tmp_path / "run") == untimed(tmp_path / "straight")
    straight = RunResult.load(tmp_path / "straight" / "result.json")
    assert result.diagnostics.model_dump(exclude={"seconds"}) == straight.diagnostics.model_dump(exclude={"seconds"})
