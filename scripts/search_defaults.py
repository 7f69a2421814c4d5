"""Search the default hyperparameters of the optimizers on validation data, the same number of trials for each.

A plain random search over the declared spaces below. Every trial trains each model once per tuning seed; its score is
the mean validation accuracy. Tuning seeds (100 and up) are never used for reporting, and no test data is looked at.
Finished runs are kept and reused, so that the same line again goes on where it stopped.

    python scripts/search_defaults.py --output runs/defaults --trials 12 --workers 2
    python scripts/search_defaults.py --output runs/defaults --table docs/results/search.md
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grng.experiments.pool.local import LocalExecutor
from grng.experiments.pool.slots import share_out, usable_cores
from grng.runs.config import RunConfig, resolve
from grng.runs.result import RunResult

MODELS = ("test_resnet", "test_vit", "test_efficientnet", "test_convnext")
TUNING_SEEDS = (100,)


@dataclass(frozen=True)
class Log:
    """Log-uniform between two bounds."""

    low: float
    high: float

    def draw(self, generator: random.Random) -> float:
        """Draw one value, rounded to two digits."""
        return float(f"{math.exp(generator.uniform(math.log(self.low), math.log(self.high))):.2g}")


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def draw(self, generator: random.Random) -> Any:
        """Draw one value."""
        return generator.choice(self.values)


DECAY = Choice((0.0, 0.01, 0.05, 0.2))
SPACES: dict[str, dict[str, Log | Choice]] = {
    "sgd": {"lr": Log(0.01, 1.0), "momentum": Choice((0.9, 0.95)), "weight_decay": Choice((0.0, 1e-4, 5e-4, 2e-3))},
    "adamw": {"lr": Log(1e-3, 3e-2), "weight_decay": DECAY},
    "kfac": {"lr": Log(0.003, 0.3), "damping": Log(3e-3, 1.0), "kl_clip": Log(1e-3, 0.1), "weight_decay": DECAY},
    "sophia-g": {"lr": Log(3e-4, 2e-2), "gamma": Log(1e-3, 1.0), "weight_decay": DECAY},
    "ring": {"lr": Log(1e-3, 1e-2), "rho": Log(1e-3, 1.0), "weight_decay": DECAY},
    "reng": {"lr": Log(1e-3, 1e-2), "rho": Log(1e-3, 0.3), "damping": Log(1e-6, 1e-2), "weight_decay": DECAY},
    "r-kalman": {"lr": Log(1e-3, 1e-2), "rho": Log(1e-2, 3.0), "weight_decay": DECAY},
    "timm:nmuon": {"lr": Log(3e-3, 0.1), "momentum": Choice((0.9, 0.95)), "weight_decay": DECAY},  # for the benchmarks
}


def trials(optimizer: str, count: int) -> list[dict[str, Any]]:
    """Draw the trials of an optimizer; the first ones stay the same when there are more."""
    generator = random.Random(f"grng defaults {optimizer}")
    return [{name: space.draw(generator) for name, space in SPACES[optimizer].items()} for _ in range(count)]


def config_of(optimizer: str, model: str, seed: int, epochs: int, hyperparameters: Mapping[str, Any]) -> RunConfig:
    """Describe one run."""
    return resolve(
        RunConfig.model_validate(
            {
                "seed": seed,
                "model": model,
                "dataset": "mnist5k",
                "optimizer": {"name": optimizer, **hyperparameters},
                "training": {"epochs": epochs, "schedule": "cosine"},
                "logging": {"tensorboard": False, "checkpoint_seconds": 600.0},
                "machine": {"threads": 1},
            }
        )
    )


def search(output: Path, *, optimizers: list[str], models: list[str], count: int, workers: int, epochs: int) -> None:
    """Run every trial that has no result yet."""
    pool = LocalExecutor(share_out(workers=workers, threads=1, cores=usable_cores()))
    waiting: dict[Future[RunResult], Path] = {}
    with pool:
        for number in range(count):
            for optimizer in optimizers:
                hyperparameters = trials(optimizer, count)[number]
                folder = output / optimizer / f"{number:02d}"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "trial.json").write_text(json.dumps(hyperparameters), encoding="utf-8")
                for model in models:
                    for seed in TUNING_SEEDS:
                        directory = folder / f"{model}-seed{seed}"
                        config = config_of(optimizer, model, seed, epochs, hyperparameters)
                        waiting[pool.submit(config, directory)] = directory
        for future, directory in waiting.items():
            result = future.result()
            print(f"{directory.relative_to(output)}: {result.status}, {result.final.val_accuracy}", flush=True)


def table(output: Path, optimizers: list[str], models: list[str]) -> str:
    """Return the trials as Markdown, the best of each optimizer first."""
    lines = []
    for optimizer in optimizers:
        rows = []
        for folder in sorted((output / optimizer).glob("*")):
            stored = [json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))]
            results = [r for r in stored if r["status"] in ("finished", "diverged") and r["model"] in models]
            if len(results) < len(models) * len(TUNING_SEEDS):
                continue  # not done yet
            by_model = {
                model: [
                    r["final"]["val_accuracy"] if r["status"] == "finished" else 0.0
                    for r in results
                    if r["model"] == model
                ]
                for model in models
            }
            given = {name: results[0]["hyperparameters"][name] for name in SPACES[optimizer]}
            means = {model: statistics.mean(values) for model, values in by_model.items()}
            rows.append(
                (statistics.mean(means.values()), means, given, sum(r["status"] == "diverged" for r in results))
            )
        rows.sort(key=lambda row: -row[0])
        names = list(SPACES[optimizer])
        lines += [
            f"\n### {optimizer} ({len(rows)} trials)\n",
            f"| mean | {' | '.join(models)} | {' | '.join(names)} | diverged |",
        ]
        lines += ["|" + "---|" * (len(names) + len(models) + 2)]
        for mean, means, given, diverged in rows:
            cells = [
                f"{mean:.3f}",
                *(f"{means[m]:.3f}" for m in models),
                *(str(given[n]) for n in names),
                str(diverged),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines).strip() + "\n"


def main() -> None:
    """Search, or write the table of what was searched."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/defaults"))
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--optimizers", default=",".join(SPACES))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--table", type=Path, help="write the table there, below its head, and run nothing")
    arguments = parser.parse_args()
    if arguments.table:
        text = table(arguments.output, arguments.optimizers.split(","), arguments.models.split(","))
        arguments.table.write_text(_head(arguments.table) + text, encoding="utf-8")
        return
    search(
        arguments.output,
        optimizers=arguments.optimizers.split(","),
        models=arguments.models.split(","),
        count=arguments.trials,
        workers=arguments.workers,
        epochs=arguments.epochs,
    )


def _head(page: Path) -> str:
    """Return what stands before the first table of a page, which was written by hand."""
    before, found, _ = (page.read_text(encoding="utf-8") if page.exists() else "").partition("### ")
    return before if found else ""


if __name__ == "__main__":
    main()
