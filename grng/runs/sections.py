"""The sections of a run's configuration, one class each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from grng.diagnostics.names import DIAGNOSTICS, DiagnosticName
from grng.runs.schema import Count, Name, NamedSection, Plain, Positive, Section

DEFAULT_EPOCHS = 3


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


def _diagnostic_names(value: Any) -> Any:
    """Take `grad_norm,hessian_max` for a list of two, and `all` for all of them."""
    if not isinstance(value, str):
        return value
    return list(DIAGNOSTICS) if value.strip() == "all" else [part.strip() for part in value.split(",")]


class DiagnosticsConfig(Section):
    """What is measured of the loss surface beside training (docs/diagnostics.md); no part of the run id."""

    names: Annotated[list[DiagnosticName], BeforeValidator(_diagnostic_names)] = Field(default_factory=list)
    """What to measure: a list of names, or a comma list, or `all`."""
    every: Count | None = None
    """Steps between measurements; the last step is always measured."""
    samples: Annotated[int, Field(ge=2)] = 1024
    """Training images in the fixed sample; all of them where there are fewer."""
    batch: Annotated[int, Field(ge=2)] = 256
    """Images of the sample at once: memory, and with `batchnorm: batch` what is normalised together."""
    iterations: Annotated[int, Field(ge=2)] = 20
    """Hessian-vector products of `hessian_max` (Lanczos), and random vectors of `hessian_trace` (Hutchinson)."""
    batchnorm: Literal["batch", "running"] = "batch"
    """What BatchNorm normalises the sample with: each batch's own statistics, as in training, or the running ones."""

    @field_validator("names")
    @classmethod
    def _names_differ(cls, value: list[DiagnosticName]) -> list[DiagnosticName]:
        for name in value:
            if value.count(name) > 1:
                raise PydanticCustomError("duplicate", "{name} is there twice", {"name": repr(name)})
        return value

    @model_validator(mode="after")
    def _names_and_every(self) -> DiagnosticsConfig:
        if self.names and self.every is None:
            text = "says what to measure, but not how often; set diagnostics.every (--diagnostics-every), too"
            raise PydanticCustomError("names_alone", "{text}", {"text": text, "key": "names"})
        if self.every is not None and not self.names:
            text = "says how often to measure, but not what; set diagnostics.names (--diagnostics), too"
            raise PydanticCustomError("every_alone", "{text}", {"text": text, "key": "every"})
        return self


class MachineConfig(Section):
    """Where it runs; no part of the run id."""

    device: Name = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, …"""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU threads of torch; null: as many as the process may use."""
