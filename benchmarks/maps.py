"""How much two hyperparameters matter: validation accuracy over a grid of them, as tables.

Every cell is the mean over the tuning seeds (100 and up, used for no report) of the validation accuracy after
`--epochs` of the bundled digits, with everything else at its default; no test data is looked at. `–` is a cell in which
a run diverged. Finished runs are kept, so that the same line again goes on where it stopped.

    python benchmarks/maps.py --markdown docs/results/maps.md
    python benchmarks/maps.py --maps rho-lr --models test_vit --seeds 3
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from grng import __version__
from grng.experiments.pool.local import LocalExecutor
from grng.experiments.pool.slots import share_out, usable_cores
from grng.runs.config import RunConfig, resolve
from grng.runs.result import RunResult

FIRST_SEED = 100


@dataclass(frozen=True)
class Map:
    """A grid: one hyperparameter by row, one by column, and what is given beside them."""

    title: str
    optimizer: str
    rows: tuple[str, tuple[float, ...]]
    columns: tuple[str, tuple[float, ...]]
    given: Mapping[str, Any] = field(default_factory=dict)

    def cells(self) -> list[tuple[float, float]]:
        """Return the grid's points, row by row."""
        return [(row, column) for row in self.rows[1] for column in self.columns[1]]

    def hyperparameters(self, row: float, column: float) -> dict[str, Any]:
        """Return what a point gives to the optimizer."""
        return {**self.given, self.rows[0]: row, self.columns[0]: column}


# K-FAC with what RING's default has besides its damping
RINGS_STEP = {
    "step_norm": "rms",
    "kl_clip": None,
    "momentum_form": "gradient",
    "other_parameters": "adamw",
    "weight_decay": 0.05,
}
RATES = (0.001, 0.0023, 0.005)
MAPS = {
    "rho-lr": Map("RING: ρ by lr", "ring", ("rho", (0.0, 0.001, 0.01, 0.1, 1.0)), ("lr", RATES)),
    "damping-lr": Map(
        "K-FAC with RING's step and a constant damping: λ by lr",
        "kfac",
        ("damping", (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
        ("lr", RATES),
        RINGS_STEP,
    ),
    "classical": Map(
        "K-FAC, classical (trust region, momentum of the step): λ by lr",
        "kfac",
        ("damping", (0.003, 0.01, 0.03, 0.1, 0.3)),
        ("lr", (0.01, 0.03, 0.1, 0.3)),
    ),
    "powers": Map(
        "RING: power p of the gradient norm in λ + ρ‖g‖^p by ρ",
        "ring",
        ("norm_power", (0.5, 1.0, 2.0)),
        ("rho", (1e-3, 1e-2, 1e-1)),
    ),
    "global": Map(
        "RING with the whole model's gradient norm (norm_scope=global): p by ρ",
        "ring",
        ("norm_power", (1.0, 2.0)),
        ("rho", (1e-4, 1e-3, 1e-2)),
        {"norm_scope": "global"},
    ),
    "freshness": Map(
        "RING: share of the batch by steps between updates of the factors",
        "ring",
        ("curvature_batch", (1.0, 0.25, 0.125)),
        ("curvature_interval", (1, 2, 4, 10)),
    ),
    "refreshes": Map(
        "RING: steps between updates of the factors by steps between refreshes of the inverses",
        "ring",
        ("curvature_interval", (1, 4, 10)),
        ("inverse_interval", (5, 10, 20, 100)),
    ),
}


def config_of(one: Map, model: str, seed: int, epochs: int, point: tuple[float, float]) -> RunConfig:
    """Describe one run."""
    return resolve(
        RunConfig.model_validate(
            {
                "seed": seed,
                "model": model,
                "dataset": "mnist5k",
                "optimizer": {"name": one.optimizer, **one.hyperparameters(*point)},
                "training": {"epochs": epochs, "schedule": "cosine"},
                "logging": {"tensorboard": False, "checkpoint_seconds": 600.0},
                "machine": {"threads": 1},
            }
        )
    )


def run_all(arguments: argparse.Namespace, names: Sequence[str], models: Sequence[str]) -> dict[Any, list[RunResult]]:
    """Return the results of every cell, one a seed; what is missing is run."""
    waiting: list[tuple[Any, Future[RunResult]]] = []
    found: dict[Any, list[RunResult]] = {}
    with LocalExecutor(share_out(workers=arguments.workers, threads=1, cores=usable_cores())) as pool:
        for name in names:
            for model in models:
                for point in MAPS[name].cells():
                    for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds):
                        config = config_of(MAPS[name], model, seed, arguments.epochs, point)
                        folder = f"{name}-{model}-e{arguments.epochs}"
                        directory = arguments.output / folder / f"{point[0]:g}-{point[1]:g}" / f"seed{seed}"
                        waiting.append(((name, model, point), pool.submit(config, directory)))
        for key, future in waiting:
            found.setdefault(key, []).append(future.result())
            print(*key, found[key][-1].status, found[key][-1].final.val_accuracy, flush=True)
    return found


def table(name: str, model: str, found: Mapping[Any, Sequence[RunResult]]) -> list[str]:
    """Return one map as Markdown; the best cell of the grid is bold."""
    one = MAPS[name]
    means: dict[tuple[float, float], float] = {}
    for point in one.cells():
        results = found[name, model, point]
        if all(result.status == "finished" for result in results):
            means[point] = statistics.mean(float(result.final.val_accuracy or 0.0) for result in results)
    best = max(means.values(), default=0.0)
    head = [f"{one.rows[0]} \\ {one.columns[0]}", *(f"{column:g}" for column in one.columns[1])]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head))]
    for row in one.rows[1]:
        cells = [f"{means[row, c]:.3f}" if (row, c) in means else "–" for c in one.columns[1]]
        cells = [f"**{cell}**" if cell == f"{best:.3f}" else cell for cell in cells]
        lines.append("| " + " | ".join([f"{row:g}", *cells]) + " |")
    return lines


def main() -> None:
    """Run what is missing and print the maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", default=",".join(MAPS), help=f"of {', '.join(MAPS)}")
    parser.add_argument("--models", default="test_vit,test_resnet")
    parser.add_argument("--seeds", type=int, default=2, help=f"how many; they start at {FIRST_SEED}")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/maps"))
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    names, models = arguments.maps.split(","), arguments.models.split(",")
    found = run_all(arguments, names, models)
    lines = []
    for name in names:
        lines += [f"## {MAPS[name].title}", ""]
        given = MAPS[name].given
        if given:
            lines += ["Given: " + ", ".join(f"{key}={value}" for key, value in given.items()) + ".", ""]
        for model in models:
            lines += [f"### {model}", "", *table(name, model, found), ""]
    last = FIRST_SEED + arguments.seeds - 1
    lines.append(
        f"Validation accuracy after {arguments.epochs} epochs of mnist5k (batch 128, cosine schedule), mean of seeds "
        f"{FIRST_SEED} to {last}; a dash: a run diverged. {platform.machine()}, torch {torch.__version__}, "
        f"grng {__version__}."
    )
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.markdown:
        title = "# Maps: learning rate and regularisation, learning rate and damping\n\n"
        title += "Made by `python benchmarks/maps.py`; what is measured stands there.\n\n"
        arguments.markdown.write_text(title + text, encoding="utf-8")


if __name__ == "__main__":
    main()
