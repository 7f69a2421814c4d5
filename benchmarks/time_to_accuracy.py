"""What optimizers reach at equal steps and at equal time, tuned with equally many trials, on fresh seeds.

Rows are optimizers as in `grng compare`: with their defaults, or `tuned:NAME` with the trial that was best on the
validation data of the same model in a search made by `scripts/search_defaults.py` (the same number of trials for all,
on tuning seeds that are used for nothing else). `timm:` optimizers work too.

Per row and model, mean and 95 % interval over the seeds, all on the bundled digits:

- test accuracy and training loss (mean over the last epoch) after the same number of steps as the reference;
- the steps and the training time until the validation accuracy is, twice in a row, at least the reference's last one of
  the same seed, as a share of the reference's whole run (a run that never gets there counts as infinity);
- the steps until the training loss (mean of the last `--window` steps) is at most the reference's last one, likewise;
- test accuracy after the same *time*: fewer steps (a schedule of that length), by the ratio of the mean step times.

Times are those of `benchmarks/step_cost.py --json`, measured side by side on an idle machine, where `--step-cost` gives
that file; else those of the runs themselves, which need the machine to themselves and one worker.

    python scripts/search_defaults.py --output runs/search --trials 10
    python benchmarks/time_to_accuracy.py --search runs/search --rows tuned:adamw,ring,ring[rho=0],tuned:timm:muon
    python benchmarks/time_to_accuracy.py --search runs/search --markdown docs/results/time-to-accuracy.md
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grng import __version__
from grng.experiments.pool.local import LocalExecutor
from grng.experiments.pool.slots import share_out, usable_cores
from grng.experiments.specs import parse_specs
from grng.runs.config import RunConfig, resolve
from grng.runs.result import RunResult
from grng.statistics import mean_interval

MODELS = "test_vit,test_resnet,test_efficientnet,test_convnext"
Key = tuple[str, str, int]  # the row's label, the model, the number of steps
ROWS = "tuned:adamw,ring,ring[rho=0],reng,tuned:kfac,r-kalman"


@dataclass(frozen=True)
class Row:
    """An optimizer with hyperparameters by model."""

    label: str
    name: str
    hyperparameters: Mapping[str, Mapping[str, Any]]

    @property
    def cost_label(self) -> str:
        """The optimizer as `step_cost.py` knows it: how it was tuned does not change what a step costs."""
        return self.label.removeprefix("tuned:")


@dataclass(frozen=True)
class Finished:
    """One run: its result, and its curves: training loss and validation accuracy with the steps that were logged."""

    result: RunResult
    losses: tuple[tuple[int, float], ...]
    accuracies: tuple[tuple[int, float], ...]

    @classmethod
    def read(cls, directory: Path, result: RunResult) -> Finished:
        """Read a run directory."""
        lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["kind"] == "step"]
        evaluated = tuple(
            (line["step"], line["val_accuracy"]) for line in lines if line.get("val_accuracy") is not None
        )
        losses = tuple((line["step"], math.inf if line["train_loss"] is None else line["train_loss"]) for line in steps)
        return cls(result, losses, evaluated)

    def smooth_loss(self, step: int, window: int) -> float:
        """Return the mean training loss of what was logged of the `window` steps up to `step` (from 1)."""
        return statistics.mean(loss for logged, loss in self.losses if step - window < logged <= step)

    def steps_to_loss(self, target: float, window: int) -> float:
        """Return the first step whose smooth loss is at most `target`, else infinity."""
        logged = (step for step, _ in self.losses if step >= window)
        return next((step for step in logged if self.smooth_loss(step, window) <= target), math.inf)

    def steps_to_accuracy(self, target: float) -> float:
        """Return the first of two evaluations in a row that reach `target` (or the last one alone), else infinity."""
        for number, (step, accuracy) in enumerate(self.accuracies):
            after = self.accuracies[number + 1 : number + 2]
            if accuracy >= target and all(later >= target for _, later in after):
                return step
        return math.inf


def tuned_hyperparameters(search: Path, name: str, model: str) -> dict[str, Any]:
    """Return the searched hyperparameters of the trial with the best validation accuracy on `model`.

    Raises:
        SystemExit: There is no finished trial.
    """
    best: tuple[float, dict[str, Any]] | None = None
    for folder in sorted((search / name).glob("[0-9]*")):
        given = json.loads((folder / "trial.json").read_text())
        results = [RunResult.load(path) for path in sorted(folder.glob(f"{model}-seed*/result.json"))]
        scores = [r.final.val_accuracy or 0.0 if r.status == "finished" else 0.0 for r in results]
        if scores and (best is None or statistics.mean(scores) > best[0]):
            best = (statistics.mean(scores), given)
    if best is None:
        raise SystemExit(
            f"{search / name}: no finished trial of {name} on {model}; run scripts/search_defaults.py first"
        )
    return best[1]


def read_rows(text: str, models: Sequence[str], search: Path | None) -> list[Row]:
    """Parse the rows; the tuned ones are read from the search."""
    rows = []
    for spec in parse_specs(text):
        if not spec.name.startswith("tuned:"):
            rows.append(Row(spec.label, spec.name, dict.fromkeys(models, spec.hyperparameters)))
            continue
        name = spec.name.removeprefix("tuned:")
        if search is None:
            raise SystemExit(f"{spec.label}: --search is missing")
        found = {model: {**tuned_hyperparameters(search, name, model), **spec.hyperparameters} for model in models}
        rows.append(Row(spec.label, name, found))
    return rows


class Runs:
    """All runs of the benchmark: made where they are missing, in directories by row, model, length and seed."""

    def __init__(self, output: Path, workers: int, dataset: str) -> None:
        self.output = output
        self.workers = workers
        self.dataset = dataset

    def all(
        self, wanted: Mapping[tuple[str, str, int], Row], seeds: Sequence[int]
    ) -> dict[tuple[str, str, int], list[Finished]]:
        """Return the runs of every (row's label, model, steps), one a seed, in the seeds' order."""
        waiting: list[tuple[Key, Path, Future[RunResult]]] = []
        found: dict[Key, list[Finished]] = {key: [] for key in wanted}
        with LocalExecutor(share_out(workers=self.workers, threads=1, cores=usable_cores())) as pool:
            for seed in seeds:
                for (label, model, steps), row in wanted.items():
                    directory = self.output / label.replace(":", "-") / f"{model}-{steps}" / f"seed{seed}"
                    config = self._config(row, model, steps, seed)
                    waiting.append(((label, model, steps), directory, pool.submit(config, directory)))
            for key, directory, future in waiting:
                result = future.result()
                print(
                    f"{directory.relative_to(self.output)}: {result.status}, {result.final.test_accuracy}", flush=True
                )
                found[key].append(Finished.read(directory, result))
        return found

    def _config(self, row: Row, model: str, steps: int, seed: int) -> RunConfig:
        return resolve(
            RunConfig.model_validate(
                {
                    "seed": seed,
                    "model": model,
                    "dataset": self.dataset,
                    "optimizer": {"name": row.name, **row.hyperparameters[model]},
                    "training": {"steps": steps, "schedule": "cosine", "eval_every": 3},
                    "logging": {"tensorboard": False, "checkpoint_seconds": 600.0},
                    "machine": {"threads": 1},
                }
            )
        )


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Return mean and 95 % t interval."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "–"
    found = mean_interval(values)
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def shares(values: Sequence[float]) -> str:
    """Return the median of shares, and how many runs never got there."""
    never = sum(math.isinf(value) for value in values)
    middle = statistics.median(values)
    return ("never" if math.isinf(middle) else f"{middle:.2f}") + (f" ({never} never)" if never else "")


def compare(row: Sequence[Finished], reference: Sequence[Finished], window: int, ratio: float) -> list[str]:
    """Return the cells of one row, pairing runs by seed; a step takes `ratio` of the reference's."""
    steps = reference[0].losses[-1][0]
    to_accuracy, time_to_accuracy, to_loss = [], [], []
    for own, other in zip(row, reference, strict=True):
        reached = own.steps_to_accuracy(other.accuracies[-1][1])
        to_accuracy.append(reached / steps)
        time_to_accuracy.append(ratio * reached / steps)
        to_loss.append(own.steps_to_loss(other.smooth_loss(steps, window), window) / steps)
    done = [one for one in row if one.result.status == "finished"]
    cells = [
        interval([float(one.result.final.test_accuracy or 0.0) for one in done]),
        interval([float(one.result.final.train_loss or math.inf) for one in done]),
        shares(to_accuracy),
        shares(time_to_accuracy),
        shares(to_loss),
    ]
    return [*cells, str(len(row) - len(done))]


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=ROWS, help="the first is the reference")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--dataset", default="mnist5k")
    parser.add_argument("--search", type=Path, help="folder of scripts/search_defaults.py, for tuned: rows")
    parser.add_argument("--steps", type=int, default=81, help="steps of the reference; an epoch of mnist5k has 27")
    parser.add_argument("--seeds", type=int, default=5, help="how many; they start at --first-seed")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--window", type=int, default=9, help="steps over which the training loss is averaged")
    parser.add_argument("--workers", type=int, default=1, help="more make the times less exact")
    parser.add_argument("--only-equal-steps", action="store_true", help="leave out the runs of equal time")
    parser.add_argument("--step-cost", type=Path, help="file of step_cost.py --json with these models and optimizers")
    parser.add_argument("--output", type=Path, default=Path("runs/time-to-accuracy"))
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    rows = read_rows(arguments.rows, models, arguments.search)
    runs = Runs(arguments.output, arguments.workers, arguments.dataset)
    equal_steps = runs.all({(row.label, model, arguments.steps): row for row in rows for model in models}, seeds)
    known = json.loads(arguments.step_cost.read_text()) if arguments.step_cost else {}
    ratio = {
        (row.label, model): known[model][row.cost_label] / known[model][rows[0].cost_label]
        if known
        else _step_ms(equal_steps[row.label, model, arguments.steps])
        / _step_ms(equal_steps[rows[0].label, model, arguments.steps])
        for row in rows
        for model in models
    }
    length = {key: max(2, math.floor(arguments.steps / value)) for key, value in ratio.items()}
    timed = {(row.label, model, length[row.label, model]): row for row in rows for model in models}
    equal_time = {} if arguments.only_equal_steps else runs.all(timed, seeds)
    head = ["model", "optimizer", "test accuracy", "training loss", "steps to ref. accuracy", "time to ref. accuracy"]
    head += ["steps to ref. loss", "diverged", "step time"]
    head += [] if arguments.only_equal_steps else ["test accuracy, equal time (steps)"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head))]
    for model in models:
        reference = equal_steps[rows[0].label, model, arguments.steps]
        for row in rows:
            runs_of_row = equal_steps[row.label, model, arguments.steps]
            cells = compare(runs_of_row, reference, arguments.window, ratio[row.label, model])
            cells = [model, row.label, *cells, f"{ratio[row.label, model]:.2f}"]
            if not arguments.only_equal_steps:
                steps = length[row.label, model]
                short = [one for one in equal_time[row.label, model, steps] if one.result.status == "finished"]
                accuracy = interval([float(one.result.final.test_accuracy or 0.0) for one in short])
                cells.append(f"{accuracy} ({steps})")
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"{arguments.dataset}, {arguments.steps} steps, seeds {seeds[0]} to {seeds[-1]}; shares: medians.",
    ]
    lines.append(f"One thread, {platform.machine()}, torch {torch.__version__}, grng {__version__}.")
    for row in rows:
        given = {model: dict(row.hyperparameters[model]) for model in models}
        if any(given.values()):
            lines += [f"\n{row.label}: " + "; ".join(f"{model} {values}" for model, values in given.items()) + "."]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.markdown:
        title = "# At equal steps and at equal time\n\n"
        title += "Made by `python benchmarks/time_to_accuracy.py`; what is measured stands there.\n\n"
        arguments.markdown.write_text(title + text, encoding="utf-8")


def _step_ms(runs: Sequence[Finished]) -> float:
    return statistics.median(float(one.result.time.step_ms or math.nan) for one in runs)


if __name__ == "__main__":
    main()
