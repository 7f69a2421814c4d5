"""Half precision in whole runs: what stays in float32, skipped steps, the scale in checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grng.errors import GrngError
from grng.training.building import build_session
from grng.training.clock import StepClock
from grng.training.evaluate import evaluate
from grng.training.loss import Loss
from grng.training.precision import Precision, PrecisionName
from grng.training.step import StepRules, train_step
from grng.training.trainer import train
from tests.oracles.nets import class_batch, flat, mlp
from tests.training.helpers import metrics, run_config

pytestmark = pytest.mark.usefixtures("small_data")

CPU = torch.device("cpu")
HALF: list[PrecisionName] = ["bf16", "fp16"]
VARIANTS: list[Any] = [
    *("adamw", "kfac", "sophia-g", "sophia-h", "ring", "reng", "r-kalman", "sam", "timm:lion"),
    {"name": "r-kalman", "observation": "outputs"},
]


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors(item)]


@pytest.mark.parametrize(
    ("optimizer", "precision"),
    # convolutions' backward in bfloat16 is slow on a CPU, and goes over all outputs there
    [pytest.param(it, "bf16", marks=[pytest.mark.slow] * isinstance(it, dict)) for it in VARIANTS]
    + [(name, "fp16") for name in ("ring", "sam")],
    ids=str,
)
def test_weights_and_all_that_an_optimizer_keeps_stay_in_float32(optimizer: Any, precision: PrecisionName) -> None:
    session = build_session(run_config(optimizer, training={"precision": precision, "batch_size": 8}))
    if session.rules.precision.scaler is not None:  # the default scale is too large for the first steps
        session.rules.precision.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    before = flat([p.detach().clone() for p in session.model.parameters()])
    seen: list[torch.dtype] = []
    session.model.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    for _ in range(2):
        outcome = session.advance(collect=True)
        assert outcome.finite
        session.progress.record_step(outcome.loss)
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    kept = [tensor for tensor in tensors(dict(session.torch_optimizer.state)) if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in kept} <= {torch.float32, torch.float64}
    assert {p.dtype for p in session.model.parameters()} == {torch.float32}
    after = flat(list(session.model.parameters()))
    assert bool(after.isfinite().all())
    assert not torch.equal(after, before)
    session.close()


@pytest.mark.parametrize("precision", HALF)
def test_the_loss_is_that_of_float32_up_to_half_precision_s_rounding(precision: PrecisionName) -> None:
    losses = []
    for name in ("fp32", precision):
        session = build_session(run_config("sgd", training={"precision": name, "batch_size": 8}))
        losses.append(session.advance().loss)
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_evaluation_is_in_the_same_precision() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 4))
    seen: list[torch.dtype] = []
    model.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    images, labels = torch.randn(4, 1, 3, 3), torch.tensor([0, 1, 2, 3])
    evaluate(model, images, labels, batch_size=4, device=CPU, precision=Precision("fp32", CPU))
    evaluate(model, images, labels, batch_size=4, device=CPU, precision=Precision("bf16", CPU))
    assert seen == [torch.float32, torch.bfloat16]


def test_a_loss_scale_leaves_no_mark_on_the_step() -> None:
    moved = []
    for scaled in (False, True):
        model = mlp()
        optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer.is_second_order = optimizer.needs_closure = False
        optimizer.observe = lambda outputs, targets: None
        precision = Precision()
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10) if scaled else None
        train_step(model, optimizer, class_batch, StepClock(CPU), rules=StepRules(precision=precision))
        moved.append(flat(list(model.parameters())))
    torch.testing.assert_close(moved[1], moved[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", ["sgd", "ring", "reng", "sam", "sophia-h"])
def test_an_overflow_skips_the_step_halves_the_scale_and_is_counted(optimizer: str) -> None:
    session = build_session(run_config(optimizer, training={"precision": "fp16", "batch_size": 4, "steps": 99}))
    precision = session.rules.precision
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    before = flat([p.detach().clone() for p in session.model.parameters()])
    session.progress.record_step(session.advance().loss)
    assert torch.equal(flat(list(session.model.parameters())), before)
    assert precision.metrics() == {"loss_scale": 2.0**23, "skipped_steps": 1.0}
    assert getattr(session.optimizer, "steps", 0) == 0
    for _ in range(14):
        session.progress.record_step(session.advance().loss)
    assert 1.0 < precision.metrics()["skipped_steps"] < 15.0, "in the end it steps"
    assert not torch.equal(flat(list(session.model.parameters())), before)


def test_scale_and_skipped_steps_are_logged_and_saved(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    train(run_config("sgd", training={"precision": "fp16", "batch_size": 8, "steps": 4}), directory)
    lines = [line for line in metrics(directory) if line["kind"] == "step"]
    assert all({"loss_scale", "skipped_steps"} <= line.keys() for line in lines)
    saved = torch.load(directory / "checkpoint" / "last.pt", weights_only=True)["precision"]
    assert saved["scaler"]["scale"] == lines[-1]["loss_scale"]
    assert saved["skipped_steps"] == lines[-1]["skipped_steps"]
    train(run_config("sgd"), tmp_path / "other")
    assert not any("loss_scale" in line for line in metrics(tmp_path / "other"))


def test_what_torch_lacks_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Tensor:
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")

    monkeypatch.setattr("torch.nn.functional.linear", refuse)
    with pytest.raises(GrngError) as caught:
        train(run_config("sgd", training={"precision": "fp16"}), tmp_path / "run")
    assert str(caught.value) == (
        "training.precision: torch cannot train in fp16 on cpu: \"addmm_impl_cpu_\" not implemented for 'Half'. "
        "Use bf16 or fp32."
    )
    assert not (tmp_path / "run").exists()


def test_an_operation_that_the_model_needs_and_torch_lacks_is_one_message_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Tensor:
        raise RuntimeError("\"slow_conv\" not implemented for 'BFloat16'")

    monkeypatch.setattr(Loss, "__call__", refuse)
    with pytest.raises(GrngError, match=r"torch cannot train in bf16 on cpu: .* Use fp32\."):
        train(run_config("sgd", training={"precision": "bf16"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
