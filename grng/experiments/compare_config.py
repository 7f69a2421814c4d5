"""The schema of a comparison: which optimizers, with which seeds, on what, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from grng.errors import GrngError, suggest
from grng.experiments.budget import BudgetConfig
from grng.experiments.claims.config import ClaimConfig, PlanningConfig, Share
from grng.experiments.pool.config import PoolConfig
from grng.experiments.specs import OptimizerSpec, make_label, parse_spec, parse_specs
from grng.experiments.sweeps.tuning_seeds import FIRST, is_tuning_seed
from grng.experiments.tuning.config import TuneConfig
from grng.experiments.tuning.tuned import SIGN, read_tuning, short_label, split_name
from grng.experiments.workloads.config import WorkloadConfig, check_workloads, completed, expanded
from grng.report.asked import check_columns, parse_columns
from grng.runs.schema import InputPath, Label, Name, Section, Seed
from grng.runs.sections import (
    AugmentConfig,
    DatasetConfig,
    DiagnosticsConfig,
    LoggingConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
)
from grng.statistics import IntervalKind

DEFAULT_OPTIMIZERS = ("sgd", "adamw", "kfac", "sophia-g", "ring", "reng", "r-kalman")
DEFAULT_REFERENCE = "adamw"
MAX_SEEDS = 10_000


def _complain(error: GrngError) -> PydanticCustomError:
    """Return a parser's error as one of pydantic's, so that it gets its file and line like every other."""
    text = f"{error.message}. {error.hint}" if error.hint else error.message
    return PydanticCustomError("grng", "{text}", {"text": text})


class Entry(OptimizerConfig):
    """One optimizer of a comparison: as a run's, with a label; `ring[rho=0.1]` is `{name: ring, rho: 0.1}`."""

    label: Label | None = None
    """The row's name; null: the name with the hyperparameters given."""
    sweep: InputPath | None = None
    """The directory of a sweep that tells the values that are not given; `ring@DIR` is `{name: ring, sweep: DIR}`."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        try:
            return _with_best(_entry(parse_spec(value)) if isinstance(value, str) else value)
        except GrngError as error:
            raise _complain(error) from None

    @property
    def spec(self) -> OptimizerSpec:
        """The entry with its label filled in."""
        given = self.hyperparameters
        return OptimizerSpec(self.label or make_label(self.name, given), self.name, given)


def _entry(spec: OptimizerSpec) -> dict[str, Any]:
    return {"name": spec.name, **spec.hyperparameters, "label": short_label(spec.label)}


def _with_best(value: Any) -> Any:
    """Fill in the best values of the sweep that an entry names."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return value
    name, folder = split_name(value["name"])
    folder = folder or value.get("sweep")
    if not isinstance(folder, str | Path):
        return value
    label = value.get("label") or short_label(f"{name}{SIGN}{folder}")
    best = read_tuning(Path(folder), name).values
    return {**best, **value, "name": name, "sweep": folder, "label": label}


def _optimizers(value: Any) -> Any:
    """Take `ring,adamw` for a list of two."""
    if not isinstance(value, str):
        return _not_empty(value)
    try:
        specs = parse_specs(value)
    except GrngError as error:
        raise _complain(error) from None
    return [_entry(spec) for spec in specs]


def _columns(value: Any) -> Any:
    """Take `grad_norm,val_loss` for a list of two, and refuse what is no field of a row."""
    names = parse_columns(value) if isinstance(value, str) else value
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        try:
            check_columns(names)
        except GrngError as error:
            raise _complain(error) from None
    return names


def _not_empty(value: Any) -> Any:
    if value == []:
        raise PydanticCustomError("empty", "must not be empty")
    return value


def _seeds(value: Any) -> Any:
    """Take a number n for the seeds 0 to n - 1, and text with commas for a list."""
    if isinstance(value, list):
        return _not_empty(value)
    with suppress(ValueError):
        if isinstance(value, str) and "," in value:
            return [int(part) for part in value.split(",") if part.strip()]
        count = int(value) if isinstance(value, str) or type(value) is int else 0
        if 1 <= count <= MAX_SEEDS:
            return list(range(count))
    text = f"must be a number of seeds from 1 to {MAX_SEEDS}, or a list of seeds, not {value!r}"
    raise PydanticCustomError("seeds", "{text}", {"text": text})


class CompareConfig(Section):
    """A comparison: every optimizer with every seed, on each model and data set, with the same budget.

    `logging`, `diagnostics`, `machine`, `reference`, `expect`, `claims`, `margin`, `interval`, `planning`, `columns`,
    `workers`, `pool`, `report` and `output` are no part of its identity.
    """

    optimizers: Annotated[list[Entry], BeforeValidator(_optimizers)] = Field(
        default_factory=lambda: [Entry(name=name) for name in DEFAULT_OPTIMIZERS]
    )
    """The rows of the table, in order: names, `name[key=value]`, or mappings."""
    seeds: Annotated[list[Seed], BeforeValidator(_seeds)] = Field(default_factory=lambda: [0, 1, 2])
    """A number of seeds, or a list of seeds."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The model; a bare string is its name."""
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    """The data set; a bare string is its name."""
    workloads: Annotated[list[WorkloadConfig], BeforeValidator(expanded)] | None = None
    """Several models and data sets, in place of `model` and `dataset`: a list, or `{models: […], datasets: […]}`."""
    training: BudgetConfig = Field(default_factory=BudgetConfig)
    """The budget of every run, batches and schedule."""
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    """How training batches are changed."""
    tune: TuneConfig = Field(default_factory=TuneConfig)
    """How the rows are tuned first; a bare number is that of the trials of each row."""
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    """What each run writes while training."""
    diagnostics: DiagnosticsConfig = Field(default_factory=DiagnosticsConfig)
    """What is measured beside each run."""
    machine: MachineConfig = Field(default_factory=MachineConfig)
    """Where it runs; `threads` is per run."""
    reference: Name | None = None
    """The row that the others are compared with; null: adamw if it takes part, else the first."""
    expect: list[str] = Field(default_factory=list)
    """What must hold in the end, such as `ring.test_accuracy > adamw.test_accuracy - 0.02`."""
    claims: list[ClaimConfig] = Field(default_factory=list)
    """What is claimed of the runs and tested over seeds, such as `ring.steps_to_target < adamw.steps_to_target`."""
    margin: Share | None = None
    """Largest difference in test accuracy that does not matter, a fraction: rows within it are called equivalent."""
    interval: IntervalKind = "t"
    """What intervals over seeds are: t (Student's), or bootstrap (BCa) from 20 seeds on."""
    planning: PlanningConfig = Field(default_factory=PlanningConfig)
    """What `--plan` is to find."""
    columns: Annotated[list[str], BeforeValidator(_columns)] = Field(default_factory=list)
    """Further columns of the table: fields of a row, such as `grad_norm`; besides those of `diagnostics.names`."""
    workers: Annotated[int, Field(ge=0, le=4096)] | None = None
    """Runs at once; 0: one after the other in this process; null: as the cores allow."""
    pool: PoolConfig = Field(default_factory=PoolConfig)
    """How runs share the machine, and how long each may take."""
    report: bool = True
    """Write `report.html` into the directory at the end: figures and tables on one page (docs/report.md)."""
    output: Annotated[Path, Field(strict=False)] | None = None
    """The experiment's directory; null: runs/compare-<id>."""

    @field_validator("optimizers")
    @classmethod
    def _labels_differ(cls, value: list[Entry]) -> list[Entry]:
        labels = [entry.spec.label for entry in value]
        for label in labels:
            if labels.count(label) > 1:
                text = f"{label!r} is there twice; give one of them another label or other hyperparameters"
                raise PydanticCustomError("duplicate", "{text}", {"text": text})
            if label.startswith("."):
                text = f"the label {label!r} begins with a dot, which would hide its directory"
                raise PydanticCustomError("label", "{text}", {"text": text})
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: list[int]) -> list[int]:
        seen: set[int] = set()
        for seed in value:
            if seed in seen:
                raise PydanticCustomError("duplicate", "seed {seed} is there twice", {"seed": seed})
            seen.add(seed)
            if is_tuning_seed(seed):
                text = f"seed {seed} is one that `grng sweep` tunes with, so no result may come from it: take one below"
                text += f" {FIRST:,}"
                raise PydanticCustomError("tuning_seed", "{text}", {"text": text})
        return value

    @model_validator(mode="after")
    def _workloads_fit(self) -> CompareConfig:
        check_workloads(self)
        return self

    @model_serializer(mode="wrap")
    def _workloads_complete(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Write workloads with all that holds for them, since what they leave open is the comparison's."""
        values: dict[str, Any] = handler(self)
        if self.workloads:
            values["workloads"] = [one.model_dump(mode=info.mode) for one in completed(self)]
            for name in ("model", "dataset"):
                values.pop(name, None)
        return values

    @property
    def specs(self) -> list[OptimizerSpec]:
        """The optimizers, labels filled in."""
        return [entry.spec for entry in self.optimizers]

    @property
    def shown_columns(self) -> list[str]:
        """The further columns of the table: those asked for, and what is measured."""
        return list(dict.fromkeys([*self.columns, *self.diagnostics.names]))

    @property
    def chosen_reference(self) -> str:
        """The label of the row that the others are compared with.

        Raises:
            GrngError: `reference` names no row.
        """
        labels = [spec.label for spec in self.specs]
        if self.reference is None:
            return DEFAULT_REFERENCE if DEFAULT_REFERENCE in labels else labels[0]
        if self.reference not in labels:
            raise GrngError(
                f"the reference {self.reference!r} does not take part.",
                where="--reference",
                hint=suggest(self.reference, labels, otherwise=f"Taking part: {', '.join(labels)}."),
            )
        return self.reference
