"""The sections of a run's configuration, one class each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from grng.runs.model_section import ModelConfig
from grng.runs.schema import Count, Name, NamedSection, Plain, Positive, Section

__all__ = [
    "DatasetConfig",
    "LoggingConfig",
    "MachineConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainingConfig",
]

DEFAULT_EPOCHS = 3


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
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Factor of the learning rate from each layer to the one below it; null: the same rate for all."""
    no_decay: bool = False
    """No weight decay for norms, biases and what the model names: position embeddings, class tokens."""
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
