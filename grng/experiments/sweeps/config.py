"""The schema of a sweep: what is searched, how, on which workload, and what the best is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from grng.experiments.pool.config import PoolConfig
from grng.experiments.sweeps.pruning import OBJECTIVES, Pruner
from grng.experiments.sweeps.tuning_seeds import MAX_COUNT, tuning_seeds
from grng.runs.schema import Count, Label, Name, Plain, Section, Seed
from grng.runs.sections import (
    AugmentConfig,
    DatasetConfig,
    DiagnosticsConfig,
    LoggingConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)

DEFAULT_TRIALS = 20

Sampler = Literal["qmc", "random", "tpe", "grid"]
Objective = Literal["accuracy", "loss", "steps-to-target", "time-to-target"]


def _space(value: Any) -> Any:
    return {} if value is None else value


def _pair(value: Any) -> Any:
    """Take `lr,damping` for a list of two."""
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) != 2 or not all(isinstance(name, str) and name for name in names):
        text = f"must be two names, as in lr,damping, not {value!r}"
        raise PydanticCustomError("pair", "{text}", {"text": text})
    return [name.removeprefix("optimizer.") for name in names]


def _pairs(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Pair = Annotated[list[Name], BeforeValidator(_pair)]


class SweepConfig(Section):
    """A search for the hyperparameters of one optimizer, on one model and one data set.

    `trials`, `label`, `maps`, `logging`, `diagnostics`, `machine`, `workers`, `pool`, `report` and `output` are no
    part of its identity.
    """

    label: Label | None = None
    """The name of the best configuration in tables; null: the optimizer's name."""
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    """The optimizer; a bare string is its name. Hyperparameters given here are not searched."""
    space: Annotated[dict[str, Plain], BeforeValidator(_space)] = Field(default_factory=dict)
    """Changes to the optimizer's declared space (`spaces/NAME`): `lr: log(1e-4, 1e-1)`; null: not searched."""
    trials: Count | None = None
    """Trials in all, those of earlier calls included; null: 20, or the whole grid."""
    sampler: Sampler = "qmc"
    """`qmc`: a scrambled Sobol sequence; `random`; `tpe`: where earlier trials were good; `grid`: all combinations."""
    objective: Objective = "accuracy"
    """What is best, on validation data."""
    seed: Seed = 0
    """Seed of the sampler; the runs have tuning seeds of their own."""
    tuning_seeds: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1
    """Runs of a trial, each with a seed that is never used for reporting; its value is their mean."""
    pruner: Pruner = "none"
    """Ends trials early that look bad: `median`, `halving`; `none`: all run to their end, which slow starters need."""
    maps: Annotated[list[Pair] | None, BeforeValidator(_pairs)] = None
    """Pairs of hyperparameters that the result is shown by, `[[lr, damping]]`; null: lr by damping and rho, or such."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The model; a bare string is its name."""
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    """The data set; a bare string is its name."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """The length of every run, batches and schedule."""
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    """How training batches are changed."""
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    """What each run writes while training."""
    diagnostics: DiagnosticsConfig = Field(default_factory=DiagnosticsConfig)
    """What is measured beside each run."""
    machine: MachineConfig = Field(default_factory=MachineConfig)
    """Where it runs; `threads` is per run."""
    workers: Annotated[int, Field(ge=0, le=4096)] | None = None
    """Runs at once; 0: one after the other in this process; null: as the cores allow."""
    pool: PoolConfig = Field(default_factory=PoolConfig)
    """How runs share the machine, and how long each may take."""
    report: bool = True
    """Write `report.html` into the directory at the end: figures and tables on one page (docs/report.md)."""
    output: Annotated[Path, Field(strict=False)] | None = None
    """The sweep's directory; null: runs/sweep-<id>."""

    @model_validator(mode="after")
    def _pruned_alone(self) -> Self:
        if self.pruner == "none":
            return self
        if self.objective not in OBJECTIVES:
            text = f"needs the objective {' or '.join(OBJECTIVES)}: a run has no {self.objective} on its way"
            raise PydanticCustomError("pruner", "{text}", {"text": text, "key": "pruner"})
        if self.tuning_seeds > 1:
            text = "judges a trial by one run: leave tuning_seeds at 1"
            raise PydanticCustomError("pruner", "{text}", {"text": text, "key": "pruner"})
        return self

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs of every trial."""
        return tuning_seeds(self.tuning_seeds)
