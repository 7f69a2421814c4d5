"""The schema of a run: what the YAML file, the flags and `--set` may say.

`RunConfig` checks types and ranges alone and needs neither torch nor timm. `resolve` checks names against the
registries and fills in every default that lives outside this file, so that the written config reproduces the run even
when defaults change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import Field

from grng.errors import ConfigError, GrngError
from grng.runs.model_section import resolved_model
from grng.runs.schema import Key, Label, Locate, OutputPath, Section, Seed
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
from grng.runs.training_settings import check_optimizer, check_processes, check_training, resolved_loss


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
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    """How training batches are changed."""
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    """What is written while training."""
    diagnostics: DiagnosticsConfig = Field(default_factory=DiagnosticsConfig)
    """What is measured beside training; no part of the run id."""
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
    from grng.data import check_dataset_name
    from grng.optimizers import check_optimizer_name, resolve_hyperparameters

    locate = locate or (lambda key: ".".join(map(str, key)))
    problems: list[GrngError] = []

    def attempt(key: Key, check: Callable[[], Any]) -> Any:
        try:
            return check()
        except GrngError as error:
            problems.extend(_relocated(error, key, locate))
            return None

    model = resolved_model(config.model, attempt)
    attempt(("dataset", "name"), lambda: check_dataset_name(config.dataset.name))
    attempt(("optimizer", "name"), lambda: check_optimizer_name(config.optimizer.name))
    if problems:
        raise ConfigError(problems)
    dataset, default_target, found = _resolve_dataset(config, str(model.get("name", config.model.name)))
    for key, problem in [*found, *check_training(config.training, config.augment), *check_processes(config)]:
        problems.extend(_relocated(problem, key, locate))
    loss = resolved_loss(config.training)
    given = config.optimizer.hyperparameters
    hyperparameters = attempt(("optimizer",), lambda: resolve_hyperparameters(config.optimizer.name, given))
    if problems:
        raise ConfigError(problems)
    hyperparameters |= attempt(("optimizer",), lambda: check_optimizer(config, hyperparameters)) or {}
    if problems:
        raise ConfigError(problems)
    if "rho_warmup_steps" in hyperparameters and "rho_warmup_steps" not in given:
        # gradient regularisation during a warm-up of the learning rate does harm (Zhao et al. 2024)
        hyperparameters["rho_warmup_steps"] = config.training.warmup
    target = config.training.target if config.training.target is not None else default_target
    return replace(
        config,
        label=config.label or config.optimizer.name,
        model=replace(config.model, **model),
        dataset=dataset,
        optimizer=OptimizerConfig(name=config.optimizer.name, **hyperparameters),
        training=replace(config.training, target=target, loss=loss),
    )


def _resolve_dataset(config: RunConfig, model: str) -> tuple[DatasetConfig, float | None, list[tuple[Key, GrngError]]]:
    """Return the data set's settings filled in, its default target, and what is wrong with them."""
    from grng.data import dataset_info, is_door
    from grng.runs.picture_settings import check_built_in, resolve_pictures

    if is_door(config.dataset.name):
        dataset, problems = resolve_pictures(config.dataset, config.augment, model)
        return dataset, None, problems
    info = dataset_info(config.dataset.name)
    problems = check_built_in(config.dataset, config.augment)
    img_size = config.dataset.img_size or info.img_size
    try:
        info.check_img_size(img_size)
    except GrngError as error:
        problems.append((("dataset", "img_size"), error))
    return DatasetConfig(name=info.name, img_size=img_size), info.target, problems


def _relocated(error: GrngError, key: Key, locate: Locate) -> list[GrngError]:
    """Return the problems of `error` with `where` telling the place in the user's sources instead of the bare name."""
    if isinstance(error, ConfigError):
        return [moved for problem in error.problems for moved in _relocated(problem, key, locate)]
    place = (*key, error.where) if key == ("optimizer",) and error.where else key
    return [type(error)(error.message, where=locate(place), hint=error.hint)]
