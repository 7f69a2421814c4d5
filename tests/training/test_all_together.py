"""Everything at once: micro-batches, clipping, an average of the weights, Mixup, half precision; cut off and resumed."""

from __future__ import annotations

from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

from grng.errors import GrngError
from grng.optim.registry import REGISTRY
from grng.runs.config import RunConfig
from grng.training.errors import Interrupted
from grng.training.trainer import train
from tests.tiers import tiered
from tests.training.helpers import at_step, checkpoint, difference, interrupt_when, run_config
from tests.training.test_processes import assert_same_run, kill_and_resume, processes, run_to_the_end

__all__ = ["processes"]

EVERYTHING: dict[str, Any] = {"grad_accum": 2, "clip_grad": 1.0, "ema": 0.9, "ema_warmup": True}
MIXED: dict[str, Any] = {"mixup": 0.4, "cutmix": 1.0, "mixup_prob": 0.8, "label_smoothing": 0.1}


def config_of(optimizer: Any, *, training: dict[str, Any] | None = None, **sections: Any) -> RunConfig:
    return run_config(
        optimizer,
        training={**EVERYTHING, "precision": "bf16", "batch_size": 8, **(training or {})},
        augment=MIXED,
        machine={"device": "cpu", "threads": 1, "channels_last": True},
        **sections,
    )


@pytest.mark.parametrize("optimizer", tiered(["ring", "reng", "r-kalman", "adamw"], ["ring"]))
def test_a_killed_run_goes_on_bit_for_bit(optimizer: str, processes: ForkServerContext, tmp_path: Path) -> None:
    config = config_of(optimizer, training={"steps": 24}, logging={"log_every": 1, "checkpoint_every": 3})
    run_to_the_end(processes, config, tmp_path / "straight")
    kill_and_resume(processes, config, tmp_path / "killed", kills=2, seed=5)
    assert_same_run(tmp_path / "straight", tmp_path / "killed")


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(("precision", "loss"), [("fp16", "ce"), pytest.param("fp32", "bce", marks=pytest.mark.slow)])
@pytest.mark.parametrize("optimizer", [*REGISTRY, "timm:lion"])
def test_every_optimizer_resumes_with_everything_on(optimizer: str, loss: str, precision: str, tmp_path: Path) -> None:
    config = config_of(optimizer, training={"precision": precision, "loss": loss, "steps": 6})
    train(config, tmp_path / "straight")
    with pytest.raises(Interrupted):
        train(config, tmp_path / "stopped", listeners=[interrupt_when(at_step(4))])
    train(config, tmp_path / "stopped")
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize("changed", ["mixup", "seed"])
def test_what_is_mixed_depends_on_the_settings(changed: str, tmp_path: Path) -> None:
    train(config_of("sgd"), tmp_path / "one")
    other = (
        config_of("sgd", seed=1) if changed == "seed" else run_config("sgd", training={**EVERYTHING, "batch_size": 8})
    )
    train(other, tmp_path / "other")
    left, right = (checkpoint(tmp_path / name)["model"] for name in ("one", "other"))
    assert difference(left, right) is not None


@pytest.mark.usefixtures("small_data")
def test_two_optimizers_see_the_same_mixed_batches() -> None:
    from grng.training.building import build_session

    sessions = [build_session(config_of(name)) for name in ("sgd", "r-kalman")]
    for session in sessions:
        for _ in range(2):
            session.progress.record_step(session.advance().loss)
    (one, its_targets), (other, their_targets) = (session._batch(5) for session in sessions)
    assert torch.equal(one, other)
    assert torch.equal(its_targets, their_targets)
    assert one.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("small_data")
def test_a_directory_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(config_of("sgd"), tmp_path / "run")
    with pytest.raises(GrngError):
        train(config_of("sgd", training={"clip_grad": 2.0}), tmp_path / "run")
