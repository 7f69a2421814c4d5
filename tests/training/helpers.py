"""Small real runs, and what is left of them once clock readings are taken out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from grng.data import DataBundle, Split, dataset_info
from grng.data.builtin import load_builtin
from grng.runs.config import RunConfig, resolve
from grng.training.events import Event, Listener, StepDone

SEVEN = ("sgd", "adamw", "kfac", "sophia-g", "ring", "reng", "r-kalman")

STEPS_PER_EPOCH = 4


def small_digits(name: str, *, img_size: int | None = None) -> DataBundle:
    """Return the first 140, 40 and 40 images of digits for `grng.data.load`: 4 batches of 32 an epoch, 12 left over."""
    data = load_builtin(dataset_info(name), img_size=img_size)
    return replace(data, train=_first(data.train, 140), val=_first(data.val, 40), test=_first(data.test, 40))


def _first(split: Split, count: int) -> Split:
    return Split(split.images[:count].clone(), split.labels[:count].clone())


def run_config(optimizer: Any = "sgd", *, seed: int = 0, **sections: Any) -> RunConfig:
    """Return a run of 10 steps (two and a half epochs): a residual network with dropout and BatchNorm, 8×8 digits."""
    training = {"steps": 10, "batch_size": 32, "eval_every": 3} | sections.pop("training", {})
    logging = {"log_every": 2, "tensorboard": False, "checkpoint_seconds": 1e6} | sections.pop("logging", {})
    return resolve(
        RunConfig.model_validate(
            {
                "seed": seed,
                "model": {"name": "test_resnet", "kwargs": {"drop_rate": 0.2, "drop_path_rate": 0.1}},
                "dataset": {"name": "digits", "img_size": 8},
                "optimizer": optimizer,
                "training": training,
                "logging": logging,
                "machine": {"device": "cpu"},
                **sections,
            }
        )
    )


def metrics(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl`."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def untimed(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl` without the clock."""
    left_out = ("elapsed_s",)
    return [{key: value for key, value in line.items() if key not in left_out} for line in metrics(directory)]


def checkpoint(directory: Path, name: str = "last") -> dict[str, Any]:
    """Return a checkpoint without what depends on the clock."""
    content: dict[str, Any] = torch.load(directory / "checkpoint" / f"{name}.pt", weights_only=True)
    for key in ("clock", "memory", "created", "total_s", "metrics_bytes", "event_bytes"):
        content.pop(key, None)
    if "progress" in content:
        for key in ("candidate", "reached"):
            point = content["progress"].pop(key)
            content["progress"][key] = None if point is None else point[0]
    return content


def difference(left: Any, right: Any, path: str = "") -> str | None:
    """Return where two nests of containers, tensors and values first differ, bit for bit; None if nowhere."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        same = left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
        return None if same else f"{path}: tensors differ"
    if isinstance(left, dict) and isinstance(right, dict):
        if left.keys() != right.keys():
            return f"{path}: keys {sorted(map(str, left.keys() ^ right.keys()))}"
        return next((found for key in left if (found := difference(left[key], right[key], f"{path}/{key}"))), None)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) != len(right):
            return f"{path}: lengths {len(left)}, {len(right)}"
        pairs = enumerate(zip(left, right, strict=True))
        return next((found for index, (a, b) in pairs if (found := difference(a, b, f"{path}[{index}]"))), None)
    return None if left == right else f"{path}: {left!r} is not {right!r}"


def interrupt_when(condition: Callable[[Event], bool]) -> Listener:
    """Return a listener that interrupts the run as Ctrl-C does, once."""
    done: list[Event] = []

    def listener(event: Event) -> None:
        if not done and condition(event):
            done.append(event)
            raise KeyboardInterrupt

    return listener


def at_step(step: int) -> Callable[[Event], bool]:
    """Return whether an event is the end of a step, as a condition."""
    return lambda event: isinstance(event, StepDone) and event.step == step
