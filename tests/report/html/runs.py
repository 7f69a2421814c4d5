"""Experiments with curves, tuning and failures, as the page is made from them, without training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from grng.runs.identity import directory_name
from tests.report.factory import STEPS_PER_EPOCH, make_experiment, make_run, place, sha, write_plan

HOSTILE = "<script>window.hacked=1</script></style></title>&amp;\u202egnir<img src=x onerror=window.hacked=1>"
"""What a damaged or malicious config.yaml may call its row."""

PHASES = {"data_ms": 2.0, "forward_ms": 30.0, "observe_ms": 8.0, "backward_ms": 40.0, "optimizer_ms": 20.0}
COVERAGE = [
    {"parameter": "head.weight", "layer": "head", "numel": 900, "rule": "kronecker", "reason": ""},
    {"parameter": "norm.weight", "layer": "norm", "numel": 100, "rule": "adamw", "reason": "LayerNorm"},
]


def write_curves(
    directory: Path,
    seed: int,
    *,
    steps: int = 81,
    every: int = 3,
    rate: float = 1.0,
    values: Mapping[str, float] | None = None,
) -> None:
    """Write a run's `metrics.jsonl`: a loss that falls, an accuracy that rises, and what an optimizer says."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        if step % every == 0:
            loss = 2.3 * math.exp(-rate * step / steps * 3) + 0.01 * seed
            line = {
                "kind": "step",
                "step": step,
                "epoch": 1 + (step - 1) // STEPS_PER_EPOCH,
                "elapsed_s": step * 0.1 + seed,
            }
            line |= {
                "train_loss": loss,
                "optimizer/gradient_norm": loss + 1,
                "optimizer/skipped_steps": 0.0,
                **(values or {}),
            }
            if step % (3 * every) == 0:
                line |= {"val_accuracy": 1 - math.exp(-rate * step / steps * 3) - 0.01 * seed, "val_loss": loss * 1.1}
            lines.append(line)
        if step % STEPS_PER_EPOCH == 0:
            epoch = {"kind": "epoch", "step": step, "epoch": step // STEPS_PER_EPOCH, "elapsed_s": step * 0.1 + seed}
            lines.append({**epoch, "train_loss": 1.0, "batches_sha256": sha("batches", seed, step)})
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_full(
    root: Path,
    labels: Sequence[str] = ("adamw", "ring", "reng"),
    seeds: int = 3,
    *,
    steps: int = 81,
    every: int = 3,
    **more: Any,
) -> Path:
    """Write an experiment of finished runs with curves; later rows are better, each seed by the same."""
    make_experiment(
        root,
        {label: [0.9 + 0.01 * place_ + 0.001 * seed for seed in range(seeds)] for place_, label in enumerate(labels)},
        **more,
    )
    for place_, label in enumerate(labels):
        for seed in range(seeds):
            make_run(
                root,
                label,
                seed,
                final__test_accuracy=0.9 + 0.01 * place_ + 0.001 * seed,
                time={**PHASES, "step_ms": 100.0 + place_ + seed, "train_s": 8.0 + place_, "total_s": 12.0 + seed},
                target={"accuracy": 0.95, "step": 54 - 9 * place_, "time_s": 5.4 - place_ + 0.1 * seed},
                parameters={"total": 1100, "trainable": 1000, "kronecker": 900, "adamw": 100},
                coverage=COVERAGE,
                **more,
            )
            write_curves(place(root, label, seed), seed, steps=steps, every=every, rate=1.0 + place_)
    return root


def make_rough(root: Path) -> Path:
    """Write an experiment as it is in the middle: finished, diverged, failed, interrupted, missing, a hostile name."""
    make_full(root)
    write_plan(root, ["adamw", "ring", "reng", HOSTILE], [0, 1, 2], reference="adamw", workers=2)
    make_run(
        root,
        "ring",
        1,
        status="diverged",
        reason="nan",
        steps=30,
        final={"test_accuracy": None},
        target={"step": None, "time_s": None},
    )
    write_curves(place(root, "ring", 1), 1, steps=30, rate=-5.0)
    make_run(
        root,
        "ring",
        2,
        status="failed",
        reason="oom",
        message=f"Traceback\n{HOSTILE}",
        steps=12,
        final={"test_accuracy": None},
    )
    hostile = place(root, HOSTILE, 0)
    hostile.mkdir(parents=True)
    config = {"label": HOSTILE, "seed": 0, "optimizer": {"name": "ring", HOSTILE: HOSTILE}, "training": {"epochs": 3}}
    (hostile / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    write_curves(hostile, 0, steps=40)
    return root


def make_sweep(root: Path, *, trials: int = 12, objective: str = "accuracy", label: str = "ring") -> Path:
    """Write a sweep's directory: `sweep.yaml` and `sweep.json`, some trials diverged."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "sweep.yaml").write_text("schema_version: 1\n")
    entries = []
    for number in range(trials):
        lr, damping = 10 ** (-4 + 3 * number / (trials - 1)), 10 ** (-3 + 2 * (number * 5 % trials) / (trials - 1))
        lost = lr > 0.05
        value = None if lost else 0.9 - 0.05 * abs(math.log10(lr) + 2.5)
        entries.append(
            {
                "trial": number,
                "status": "diverged" if lost else "finished",
                "value": value,
                "val_accuracy": value,
                "values": {"lr": lr, "damping": damping},
                "runs": [
                    {"seed": 1_000_000, "status": "diverged" if lost else "finished", "reason": "nan" if lost else None}
                ],
            }
        )
    done = [entry for entry in entries if entry["value"] is not None]
    best = max(done, key=lambda entry: float(str(entry["value"])))
    axis = {"scale": "log", "values": [], "whole": False}
    document: Mapping[str, Any] = {
        "schema_version": 1,
        "directory": str(root),
        "optimizer": label,
        "model": "test_vit",
        "dataset": "digits",
        "objective": objective,
        "direction": "maximize",
        "sampler": "qmc",
        "seed": 0,
        "tuning_seeds": [1_000_000],
        "space": {"lr": "log(0.0001, 0.1)", "damping": "log(0.001, 0.1)"},
        "axes": {
            "lr": {"name": "lr", "low": 1e-4, "high": 0.1, **axis},
            "damping": {"name": "damping", "low": 1e-3, "high": 0.1, **axis},
        },
        "counts": {"finished": len(done), "diverged": trials - len(done), "failed": 0, "running": 0},
        "best": {**best, "config": str(root / "best.yaml")},
        "best_so_far": [{"trial": 0, "value": done[0]["value"]}, {"trial": best["trial"], "value": best["value"]}],
        "best_of": [],
        "importance": {"lr": 0.8, "damping": 0.2},
        "edges": [],
        "warnings": ["the best lr is at the upper end"],
        "trials": entries,
    }
    (root / "sweep.json").write_text(json.dumps(document))
    (root / "best.yaml").write_text("optimizer: {name: ring}\n")
    return root


def make_tuned(root: Path) -> Path:
    """Write an experiment whose rows have sweeps."""
    make_full(root, ("adamw", "ring"))
    tuning = {}
    for label in ("adamw", "ring"):
        make_sweep(root / "tuning" / directory_name(label), label=label)
        tuning[label] = {
            "directory": f"tuning/{label}",
            "optimizer": label,
            "model": "test_resnet",
            "dataset": "mnist5k",
            "finished": 11,
            "diverged": 1,
            "values": {"lr": 0.003},
            "value": 0.9,
        }
    write_plan(root, ["adamw", "ring"], [0, 1, 2], reference="adamw", workers=1, tuning=tuning)
    return root
