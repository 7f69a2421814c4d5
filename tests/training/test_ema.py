"""The average of the weights: timm's recursion, and that it is what a run evaluates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from grng.training.building import build_session
from grng.training.checkpoint import evaluated_weights
from grng.training.ema import WeightAverage
from grng.training.session import Session
from grng.training.trainer import train
from tests.training.helpers import run_config
from tests.training.test_step import Net

pytestmark = pytest.mark.usefixtures("small_data")


@pytest.mark.parametrize("warmup", [False, True])
def test_the_recursion_of_the_module(warmup: bool) -> None:
    decay = 0.9
    torch.manual_seed(0)
    model = Net()
    average = WeightAverage(model, decay=decay, warmup=warmup)
    expected: dict[str, Tensor] = {}
    for step in range(1, 60):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape))
            model(torch.randn(6, 5))
        average.update(model, step)
        share = 0.0 if step == 1 else min(decay, 1 - step ** (-2 / 3)) if warmup else decay
        now = {name: value.clone() for name, value in model.state_dict().items()}
        if expected:
            averaged = {name for name, value in now.items() if value.is_floating_point()}
            now |= {name: share * expected[name] + (1 - share) * now[name] for name in averaged}
        expected = now
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert not torch.equal(expected["first.weight"], model.first.weight)


def session_after(steps: int, **training: object) -> Session:
    session = build_session(run_config("ring", training=training))
    for _ in range(steps):
        session.progress.record_step(session.advance().loss)
    return session


def test_the_average_does_not_change_the_training() -> None:
    with_average, without = session_after(5, ema=0.9), session_after(5)
    for (name, one), other in zip(
        with_average.model.state_dict().items(), without.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_evaluation_and_checkpoints_have_the_average(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    result = train(run_config("adamw", training={"ema": 0.6}), directory)
    session = build_session(run_config("adamw"))
    for name, measured in (("last", result.final.val_accuracy), ("best", result.best.val_accuracy)):
        content = torch.load(directory / "checkpoint" / f"{name}.pt", weights_only=True)
        assert content["model"].keys() == content["ema"].keys()
        assert not torch.equal(content["model"]["fc.weight"], content["ema"]["fc.weight"])
        assert evaluated_weights(content) is content["ema"]
        session.model.load_state_dict(content["ema"])
        scores = session.evaluate(session.data.val)
        assert scores.accuracy == measured
    session.model.load_state_dict(torch.load(directory / "checkpoint" / "last.pt", weights_only=True)["ema"])
    assert session.evaluate(session.data.val).loss == pytest.approx(result.final.val_loss)
    assert session.evaluate(session.data.test).loss == pytest.approx(result.final.test_loss)


def test_without_an_average_the_weights_themselves_are_what_was_evaluated(tmp_path: Path) -> None:
    train(run_config("sgd"), tmp_path / "run")
    content = torch.load(tmp_path / "run" / "checkpoint" / "best.pt", weights_only=True)
    assert "ema" not in content
    assert evaluated_weights(content) is content["model"]
