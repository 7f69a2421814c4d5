"""The section `workloads` of a comparison: several models and data sets, and what each has of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError, model_validator
from pydantic_core import PydanticCustomError

from grng.errors import suggest
from grng.experiments.budget import BudgetConfig, one_length
from grng.runs.schema import Label, Section
from grng.runs.sections import AugmentConfig, DatasetConfig, ModelConfig

if TYPE_CHECKING:
    from grng.experiments.compare_config import CompareConfig

SECTIONS = ("model", "dataset", "training", "augment")
"""What a workload may have of its own."""

PRODUCT = {"models": "model", "datasets": "dataset"}
"""The keys of `{models: […], datasets: […]}`, and what of a workload each gives."""

SHARED = (
    *("optimizers", "seeds", "logging", "diagnostics", "machine", "reference", "expect", "claims", "margin"),
    *("interval", "planning", "tune", "columns", "workers", "pool", "output"),
)
"""Keys of a comparison that are the same on all workloads."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]")

S = TypeVar("S", bound=Section)


class WorkloadBudget(BudgetConfig):
    """What a workload has of `training` for itself; the rest is the comparison's."""

    @model_validator(mode="before")
    @classmethod
    def _epochs_or_steps(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            one_length(value)
        return value


class WorkloadConfig(Section):
    """A model on a data set; what is not said here is the comparison's."""

    name: Label | None = None
    """How tables and directories call it; null: `model-dataset`."""
    model: ModelConfig
    """The model; a bare string is its name."""
    dataset: DatasetConfig
    """The data set; a bare string is its name."""
    training: WorkloadBudget | None = None
    """What is other than in the comparison's `training`."""
    augment: AugmentConfig | None = None
    """What is other than in the comparison's `augment`."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_shared(cls, value: Any) -> Any:
        for key in SHARED if isinstance(value, Mapping) else ():
            if key in value:
                text = "is the same on all workloads; give it beside `workloads`, not in one of them"
                raise PydanticCustomError("shared", "{text}", {"text": text, "key": key})
        return value


def expanded(value: Any) -> Any:
    """Take `{models: […], datasets: […]}` for the list of all pairs, the data sets of a model side by side."""
    if value == []:
        raise PydanticCustomError("empty", "must not be empty")
    if not isinstance(value, Mapping):
        return value
    for key in value:
        if key not in PRODUCT:
            hint = suggest(str(key), PRODUCT, otherwise="Give a list of workloads, or models and datasets.")
            text = f"unknown key {str(key)!r}. {hint}"
            raise PydanticCustomError("product", "{text}", {"text": text, "key": str(key)})
    lists = {key: _listed(key, value.get(key)) for key in PRODUCT}
    return [{"model": model, "dataset": dataset} for model in lists["models"] for dataset in lists["datasets"]]


def _listed(key: str, value: Any) -> list[Any]:
    """Return a list, or the names in a comma list."""
    if isinstance(value, str):
        value = split_names(value)
    if value is None or value == []:
        text = "is missing" if value is None else "must not be empty"
    elif not isinstance(value, list):
        text = f"must be a list of {key}"
    else:
        return value
    raise PydanticCustomError("product", "{text}", {"text": text, "key": key})


def split_names(text: str) -> list[str]:
    """Return the names in a comma list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def workload_names(workloads: Sequence[WorkloadConfig]) -> list[str]:
    """Return the names of workloads, filled in where none is given."""
    return [one.name or _UNSAFE.sub("_", f"{one.model.name}-{one.dataset.name}") for one in workloads]


def completed(config: CompareConfig) -> list[WorkloadConfig]:
    """Return the workloads of a comparison with all that holds for them."""
    workloads = config.workloads or []
    made = []
    for name, one in zip(workload_names(workloads), workloads, strict=True):
        training = _merged(config.training, one.training)
        given = {key: getattr(training, key) for key in training.model_fields_set}
        sections = {key: _merged(getattr(config, key), getattr(one, key)) for key in ("model", "dataset", "augment")}
        made.append(WorkloadConfig(name=name, training=WorkloadBudget(**given), **sections))
    return made


def _merged(shared: S, own: Section | None) -> S:
    """Return a comparison's section with what a workload's has for itself."""
    if own is None:
        return shared
    base = {key: getattr(shared, key) for key in shared.model_fields_set if key != "name"}
    given = {key: getattr(own, key) for key in own.model_fields_set}
    for group in type(shared).alternatives:
        if any(given.get(key) is not None for key in group):
            base = {key: value for key, value in base.items() if key not in group}
        else:  # nulls that leave the comparison's choice alone
            given = {key: value for key, value in given.items() if key not in group}
    return type(shared).model_validate({**base, **given})


def check_workloads(config: CompareConfig) -> None:
    """Raise pydantic's error where workloads do not go together, or with the rest of their comparison."""
    if not config.workloads:
        return
    for key in ("model", "dataset"):
        section = getattr(config, key)
        if key in config.model_fields_set and "name" in section.model_fields_set:
            text = f"a {key} for all and workloads exclude each other; give the {key} of every workload in workloads"
            raise PydanticCustomError("alternatives", "{text}", {"text": text, "key": key})
    names = workload_names(config.workloads)
    for index, name in enumerate(names):
        problem = None
        if name in names[:index]:
            problem = f"there are two workloads {name!r}; give one of them another name"
        elif name.startswith("."):
            problem = f"the name {name!r} begins with a dot, which would hide its directory"
        elif name == "workloads.yaml":
            problem = "the name is that of a file beside the workloads' directories; choose another"
        if problem:
            raise PydanticCustomError("duplicate", "{text}", {"text": problem, "key": "workloads"})
    try:
        completed(config)
    except ValidationError as error:  # what is good on either side, and not together
        detail = error.errors()[0]
        text = f"does not go with the comparison's own settings: {detail['msg'].rstrip('.')}"
        raise PydanticCustomError("together", "{text}", {"text": text, "key": "workloads"}) from None
