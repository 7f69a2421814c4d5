"""The schema of a run: what the YAML file, the flags and `--set` may say.

`RunConfig` checks types and ranges alone and needs neither torch nor timm. `resolve` checks names against the
registries and fills in every default that lives outside this file, so that the written config reproduces the run even
when defaults change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from grng.errors import ConfigError, GrngError

DEFAULT_EPOCHS = 3
MAX_SEED = 2**63 - 1
MAX_LABEL_LENGTH = 200

Key = tuple[str | int, ...]
Locate = Callable[[Key], str]


class Section(BaseModel):
    """A part of a configuration: unknown keys are refused, values are never converted, instances are immutable.

    `alternatives` names groups of keys that exclude each other; a stronger source that sets one of them replaces the
    others of weaker sources.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    alternatives: ClassVar[tuple[frozenset[str], ...]] = ()


class NamedSection(Section):
    """A section that a bare string abbreviates: `model: test_vit` is `model: {name: test_vit}`.

    A stronger source that gives another name replaces the whole section: the other keys belong to the name that they
    were written for.
    """

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(core)
        schema = handler.resolve_ref_schema(reference)
        full = dict(schema)
        schema.clear()
        schema.update({"anyOf": [{"type": "string", "description": "The name."}, full]})
        return reference


def _plain(value: Any) -> Any:
    """Return `value` as JSON would return it (tuples become lists); refuse numbers that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "must be a finite number, not {value}", {"value": str(value)})
    if isinstance(value, str) and value.strip().lstrip("+-.").casefold() in {"nan", "inf", "infinity"}:
        raise PydanticCustomError("finite_number", "must be a finite number, not {value}", {"value": value.strip()})
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _label(value: str) -> str:
    if "/" in value or "\\" in value:
        raise PydanticCustomError("label", "must not contain a path separator (/ or \\)")
    if not value.isprintable():
        raise PydanticCustomError("label", "must not contain control characters, line breaks or invisible characters")
    return value


def _path(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or not value.isprintable()):
        raise PydanticCustomError("output", "must be a path, neither empty nor with control characters")
    return value


Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_LABEL_LENGTH, strip_whitespace=True),
    AfterValidator(_label),
]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Plain = Annotated[JsonValue, BeforeValidator(_plain)]
OutputPath = Annotated[Path, Field(strict=False), BeforeValidator(_path)]


class ModelConfig(NamedSection):
    """Which timm model, and what its constructor is given besides channels, classes and image size."""

    name: Name = "test_resnet"
    """A timm model: `grng models list`."""
    kwargs: dict[str, Plain] = Field(default_factory=dict)
    """Keyword arguments of the model's constructor, e.g. `drop_rate: 0.1`."""


class DatasetConfig(NamedSection):
    """Which data set, and at which image size."""

    name: Name = "mnist5k"
    """A data set: `grng datasets list`."""
    img_size: Count | None = None
    """Height and width in pixels; null: the data set's own."""


class OptimizerConfig(NamedSection):
    """Which optimizer; every key besides `name` is a hyperparameter, checked by `resolve` against its signature."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Plain]

    name: Name = "ring"
    """An optimizer: `grng optimizers list`, or `timm:NAME`."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters given, by name."""
        return dict(self.__pydantic_extra__ or {})


class TrainingConfig(Section):
    """How long, in which batches, with which learning-rate schedule, and when a run counts as diverged."""

    alternatives: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"epochs", "steps"}),)

    epochs: Count | None = None
    """Passes over the training data; 3 unless `steps` is given."""
    steps: Count | None = None
    """Optimizer steps, instead of `epochs`."""
    batch_size: Count = 128
    """Images per step."""
    schedule: Literal["cosine", "constant", "linear"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly from 0."""
    eval_every: Count | None = None
    """Steps between evaluations, besides those at every epoch's end."""
    target: Annotated[float, Field(gt=0, le=1)] | None = None
    """Validation accuracy to reach, a fraction; null: the data set's default."""
    divergence_factor: Annotated[float, Field(gt=1)] = 10.0
    """A loss above this times the first step's loss …"""
    divergence_patience: Count = 20
    """… for so many steps in a row is divergence."""

    @model_validator(mode="before")
    @classmethod
    def _epochs_or_steps(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        epochs, steps = value.get("epochs"), value.get("steps")
        if epochs is not None and steps is not None:
            raise PydanticCustomError("alternatives", "epochs and steps exclude each other; give one", {"key": "steps"})
        return {**value, "epochs": DEFAULT_EPOCHS} if epochs is None and steps is None else value


class LoggingConfig(Section):
    """What is written while training; no part of the run id."""

    log_every: Count = 10
    """Steps between logged steps."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints, besides those by time and at every epoch's end."""
    checkpoint_seconds: Positive = 30.0
    """Seconds between checkpoints."""
    tensorboard: bool = True
    """Write TensorBoard event files."""


class MachineConfig(Section):
    """Where it runs; no part of the run id."""

    device: Name = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, …"""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU threads of torch; null: as many as the process may use."""


class RunConfig(Section):
    """One run: one model, one data set, one optimizer, one seed."""

    label: Label | None = None
    """The name in tables; null: the optimizer's name. No part of the run id."""
    seed: Seed = 0
    """Seed of weights, data order and optimizer noise, each with a generator of its own."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The model; a bare string is its name."""
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    """The data set; a bare string is its name."""
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    """The optimizer; a bare string is its name, every other key a hyperparameter."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """The length of training, batches, schedule and divergence."""
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    """What is written while training."""
    machine: MachineConfig = Field(default_factory=MachineConfig)
    """Where it runs."""
    output: OutputPath | None = None
    """The run directory; no part of the run id."""


Config = TypeVar("Config", bound=Section)


def replace(config: Config, **changes: Any) -> Config:
    """Return `config` with the fields in `changes` replaced, checked like any other config.

    Raises:
        pydantic.ValidationError: If a change is not allowed.
    """
    fields = {name: getattr(config, name) for name in config.model_fields_set}
    return type(config).model_validate({**fields, **(config.model_extra or {}), **changes})


def resolve(config: RunConfig, *, locate: Locate | None = None) -> RunConfig:
    """Check the names of `config` against the registries and fill in label, hyperparameters, image size and target.

    Resolving a resolved config changes nothing.

    Args:
        config: What the user gave.
        locate: Where a key was given, for messages: `Loaded.locate`. Default: the key itself, `optimizer.rho`.

    Raises:
        ConfigError: With every problem found.
    """
    from grng.data import check_dataset_name, dataset_info
    from grng.models import check_model_kwargs, check_model_name
    from grng.optimizers import check_optimizer_name, resolve_hyperparameters

    locate = locate or (lambda key: ".".join(map(str, key)))
    problems: list[GrngError] = []

    def attempt(key: Key, check: Callable[[], Any]) -> Any:
        try:
            return check()
        except GrngError as error:
            problems.extend(_relocated(error, key, locate))
            return None

    attempt(("model", "name"), lambda: check_model_name(config.model.name))
    attempt(("model", "kwargs"), lambda: check_model_kwargs(config.model.kwargs))
    attempt(("dataset", "name"), lambda: check_dataset_name(config.dataset.name))
    attempt(("optimizer", "name"), lambda: check_optimizer_name(config.optimizer.name))
    if problems:
        raise ConfigError(problems)
    info = dataset_info(config.dataset.name)
    img_size = config.dataset.img_size or info.img_size
    attempt(("dataset", "img_size"), lambda: info.check_img_size(img_size))
    given = config.optimizer.hyperparameters
    hyperparameters = attempt(("optimizer",), lambda: resolve_hyperparameters(config.optimizer.name, given))
    if problems:
        raise ConfigError(problems)
    if "rho_warmup_steps" in hyperparameters and "rho_warmup_steps" not in given:
        # gradient regularisation during a warm-up of the learning rate does harm (Zhao et al. 2024)
        hyperparameters["rho_warmup_steps"] = config.training.warmup
    target = config.training.target if config.training.target is not None else info.target
    return replace(
        config,
        label=config.label or config.optimizer.name,
        dataset=DatasetConfig(name=info.name, img_size=img_size),
        optimizer=OptimizerConfig(name=config.optimizer.name, **hyperparameters),
        training=replace(config.training, target=target),
    )


def _relocated(error: GrngError, key: Key, locate: Locate) -> list[GrngError]:
    """Return the problems of `error` with `where` telling the place in the user's sources instead of the bare name."""
    if isinstance(error, ConfigError):
        return [moved for problem in error.problems for moved in _relocated(problem, key, locate)]
    place = (*key, error.where) if key == ("optimizer",) and error.where else key
    return [type(error)(error.message, where=locate(place), hint=error.hint)]
