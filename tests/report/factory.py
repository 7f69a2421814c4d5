"""Run directories as the trainer leaves them, without training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from grng.runs.identity import directory_name
from grng.runs.result import RunResult

START = datetime(2025, 1, 1, tzinfo=UTC)
STEPS_PER_EPOCH = 27


def sha(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make_result(label: str = "adamw", seed: int = 0, **changes: Any) -> RunResult:
    """A finished run's result; `changes` by field, those of sections as mappings or with `__`: `time__shared=True`."""
    epochs = changes.get("epochs", 3)
    steps = changes.get("steps", STEPS_PER_EPOCH * (epochs or 1))
    values: dict[str, Any] = {
        "status": "finished",
        "label": label,
        "optimizer": label.partition("[")[0],
        "hyperparameters": {"lr": 0.01},
        "model": "test_resnet",
        "dataset": "mnist5k",
        "seed": seed,
        "epochs": epochs,
        "steps": steps,
        "planned_steps": steps,
        "batch_size": 128,
        "run_id": sha(label, seed),
        "final": {"train_loss": 0.1, "val_loss": 0.2, "val_accuracy": 0.96, "test_loss": 0.15, "test_accuracy": 0.95},
        "best": {"epoch": 3, "val_accuracy": 0.97},
        "target": {"accuracy": 0.95, "step": 54, "time_s": 5.4},
        "time": {"total_s": 12.0, "train_s": 8.1, "step_ms": 100.0, "step_ms_median": 99.0, "shared": False},
        "memory": {"growth_mb": 50.0, "optimizer_state_bytes": 8000, "peak_mb": 900.0},
        "parameters": {"total": 1100, "trainable": 1000},
        "diagnostics": {},
        "pairing": {"init_sha256": sha("init", seed), "batches_sha256": sha("batches", seed, steps)},
        "environment": {"grng": "0.1.0", "torch": "2.9.0", "device": "cpu", "device_name": "A CPU", "threads": 1},
        "created": START + timedelta(seconds=seed),
        "finished": START + timedelta(seconds=seed + 12),
    }
    for key, value in changes.items():
        section, _, field = key.partition("__")
        if field:
            values[section] = {**values[section], field: value}
        elif isinstance(value, Mapping) and key != "hyperparameters":
            values[section] = {**values[section], **value}
        else:
            values[section] = value
    return RunResult.model_validate(values)


def write_run(directory: Path, result: RunResult, *, data_seed: int | None = None) -> Path:
    """Write the result, the config and the epoch lines of a run; `data_seed` makes its batches those of another
    seed."""
    write_config(directory, result.label, result.seed)
    seed = result.seed if data_seed is None else data_seed
    lines = []
    for step in range(1, result.steps + 1):
        if step % STEPS_PER_EPOCH == 0:
            digest = sha("batches", seed, step)
            lines.append({"kind": "epoch", "step": step, "epoch": step // STEPS_PER_EPOCH, "batches_sha256": digest})
        elif step % 10 == 0:
            lines.append({"kind": "step", "step": step, "train_loss": 1.0})
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result.save(directory / "result.json")
    return directory


def write_config(directory: Path, label: str, seed: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    config = {"label": label, "seed": seed, "optimizer": {"name": label}, "training": {"epochs": 3}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))


def place(root: Path, label: str, seed: int) -> Path:
    return root / directory_name(label) / f"seed{seed}"


def make_run(root: Path, label: str, seed: int, *, data_seed: int | None = None, **changes: Any) -> Path:
    """Write a run where an experiment in `root` has it."""
    return write_run(place(root, label, seed), make_result(label, seed, **changes), data_seed=data_seed)


def write_plan(root: Path, labels: Sequence[str], seeds: Sequence[int], **more: Any) -> None:
    """Write `experiment.yaml`."""
    root.mkdir(parents=True, exist_ok=True)
    plan = {"schema_version": 1, "optimizers": list(labels), "seeds": list(seeds), **more}
    (root / "experiment.yaml").write_text(yaml.safe_dump(plan))


def make_experiment(root: Path, accuracies: Mapping[str, Sequence[float]], **changes: Any) -> Path:
    """Write an experiment of finished runs: test accuracies by label, one a seed."""
    seeds = list(range(max(map(len, accuracies.values()))))
    write_plan(root, list(accuracies), seeds, reference=next(iter(accuracies)), workers=1)
    for label, values in accuracies.items():
        for seed, accuracy in enumerate(values):
            make_run(root, label, seed, final={"test_accuracy": accuracy}, **changes)
    return root
