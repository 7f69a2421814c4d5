"""From a comparison to its runs: which, in which order, where, and which of them are there already."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import ConfigError, GrngError, RunDirectoryError
from grng.experiments import record, specs
from grng.experiments.budget import TUNED, BudgetConfig
from grng.experiments.compare_config import CompareConfig
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.identity import directory_name, run_id, run_ids, short_id
from grng.runs.index import RunIndex
from grng.runs.rundir import RunDirectory
from grng.runs.schema import Key, Locate
from grng.runs.sections import OptimizerConfig, TrainingConfig

if TYPE_CHECKING:
    from grng.runs.result import RunResult


@dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment.

    Args:
        label: Its row.
        seed: Its seed.
        config: Resolved.
        directory: Where it goes.
        known_id: Its run id, where that is known already.
    """

    label: str
    seed: int
    config: RunConfig
    directory: Path
    known_id: str | None = field(default=None, compare=False, repr=False)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.known_id or run_id(self.config)


def rows(compare: CompareConfig, *, locate: Locate | None = None) -> dict[str, RunConfig]:
    """Return the resolved config of every row, by label, with the first seed.

    With a budget in seconds the number of steps, not known yet, is 1.

    Args:
        compare: The comparison.
        locate: Where a key of `compare` was given, for messages.

    Raises:
        ConfigError: With every problem of every row.
        GrngError: The reference does not take part.
        ValueError: The comparison has workloads: `workloads.compare.split` makes one comparison of each.
    """
    if compare.workloads:
        raise ValueError("rows: several workloads have rows each: use grng.experiments.workloads.compare.split")
    resolved: dict[str, RunConfig] = {}
    problems: dict[str, GrngError] = {}
    budget = compare.training
    for index, spec in enumerate(compare.specs):
        config = RunConfig(
            label=spec.label,
            seed=compare.seeds[0],
            model=compare.model,
            dataset=compare.dataset,
            optimizer=OptimizerConfig(name=spec.name, **spec.hyperparameters),
            training=training_of(budget, steps=1) if budget.seconds else training_of(budget),
            augment=compare.augment,
            logging=compare.logging,
            diagnostics=compare.diagnostics,
            machine=compare.machine,
        )
        try:
            resolved[spec.label] = resolve(config, locate=locate_row(index, spec.label, locate))
        except ConfigError as error:  # the model's and the data set's problems are the same for all rows
            problems.update((str(problem), problem) for problem in error.problems)
    if problems:
        raise ConfigError(list(problems.values()))
    _ = compare.chosen_reference
    return resolved


def plan(
    compare: CompareConfig, *, steps: Mapping[str, int] | None = None, locate: Locate | None = None
) -> list[PlannedRun]:
    """Return the runs of `compare`, interleaved seed by seed, so that a machine's drift falls on all rows alike.

    Args:
        compare: The comparison.
        steps: With a budget in seconds, the calibrated number of steps by label.
        locate: Where a key of `compare` was given, for messages.

    Raises:
        ConfigError: With every problem of every row.
    """
    configs = rows(compare, locate=locate)
    directory = directory_of(compare, configs)
    if compare.training.seconds:
        configs = {label: with_steps(config, (steps or {})[label]) for label, config in configs.items()}
    ids = {label: run_ids(config, compare.seeds) for label, config in configs.items()}
    folders = {label: directory / directory_name(label) for label in configs}
    return [
        PlannedRun(label, seed, replace(config, seed=seed), folders[label] / f"seed{seed}", known_id=ids[label][number])
        for number, seed in enumerate(compare.seeds)
        for label, config in configs.items()
    ]


def with_steps(config: RunConfig, steps: int) -> RunConfig:
    """Return `config` with a length of `steps`."""
    return replace(config, training=replace(config.training, epochs=None, steps=steps))


def directory_of(compare: CompareConfig, configs: Mapping[str, RunConfig]) -> Path:
    """Return the experiment's directory: `output`, or one named after what the experiment is."""
    return compare.output or Path("runs", f"compare-{short_id(identity(compare, configs))}")


def identity(compare: CompareConfig, configs: Mapping[str, RunConfig]) -> str:
    """Return the experiment's id: a hash of its runs, whatever is expected of them or however they are run.

    Args:
        compare: The comparison.
        configs: Its rows; those that are to be tuned somewhere within their space.
    """
    lines = [f"seconds {compare.training.seconds}"]
    if compare.tune.trials:
        lines.append(f"tune {json.dumps(compare.tune.model_dump(mode='json'), sort_keys=True)}")
    if compare.training.target == TUNED:
        lines.append("target tuned")
    for label, config in configs.items():
        lines += [f"{label} {identifier}" for identifier in run_ids(config, compare.seeds)]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def check_directory(directory: Path, runs: Sequence[PlannedRun], index: RunIndex | None = None) -> dict[int, RunResult]:
    """Refuse a directory in which this experiment cannot be; nothing is written.

    Args:
        directory: The experiment's.
        runs: What is to be in it.
        index: Of the directory, where it has been read already.

    Returns:
        The results of the runs that have finished or diverged in it, by the index of their run.

    Raises:
        RunDirectoryError: It is a file, holds something else, or other runs under the same labels and seeds.
    """
    if directory.is_dir() and not (directory / record.FILE).exists():
        strangers = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
        if strangers:
            shown = ", ".join(strangers[:3]) + (", …" if len(strangers) > 3 else "")
            raise RunDirectoryError(
                f"holds something else than an experiment ({shown}).",
                where=str(directory),
                hint="Choose another directory with --output.",
            )
    elif directory.exists() and not directory.is_dir():
        raise RunDirectoryError(
            "is a file, not a directory.", where=str(directory), hint="Choose another directory with --output."
        )
    index = index or RunIndex(directory)
    stored = {}
    for number, run in enumerate(runs):
        result = result_there(run.directory, run.run_id, index)
        if result is None:
            RunDirectory(run.directory).check(run.config)
        else:
            stored[number] = result
    return stored


def result_there(directory: Path, identity: str, index: RunIndex) -> RunResult | None:
    """Return the result of the run `identity` if it has finished or diverged in `directory` for certain.

    Where this is None, `RunDirectory.check` tells.

    Args:
        directory: The run's.
        identity: Its run id.
        index: Of the experiment directory.
    """
    result = index.complete(directory, identity)
    return result if result is not None and os.access(directory, os.W_OK | os.X_OK) else None


def training_of(budget: BudgetConfig, *, steps: int | None = None) -> TrainingConfig:
    """Return what a run is told of the comparison's budget; a target that is not known yet is left to the data set.

    Args:
        budget: The comparison's `training`.
        steps: The length, instead of the budget's.
    """
    given = {name: getattr(budget, name) for name in TrainingConfig.model_fields}
    given["target"] = None if given["target"] == TUNED else given["target"]
    return TrainingConfig(**given) if steps is None else TrainingConfig(**{**given, "epochs": None, "steps": steps})


def locate_row(index: int, label: str, locate: Locate | None) -> Locate:
    """Return where a key of the run of row `index` was given, by where that of the comparison was."""

    def locate_run(key: Key) -> str:
        compared = ("optimizers", index, *key[1:]) if key[0] == "optimizer" else key
        where = locate(compared) if locate else ".".join(map(str, compared))
        # A flag gives all rows in one text: say which of them.
        return f"{where} {label}" if where == specs.WHERE else where

    return locate_run
