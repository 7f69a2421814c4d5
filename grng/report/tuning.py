"""How the rows of a table were tuned: what `experiment.yaml` says of it, and what a reader must be told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from grng.report.checks import plural

OBJECTIVES = {
    "accuracy": "validation accuracy",
    "loss": "validation loss",
    "steps-to-target": "steps to target",
    "time-to-target": "time to target, s",
}
"""What the best trial is best in, in words."""

_SAMPLERS = {"qmc": "quasi-random", "random": "random", "tpe": "TPE", "grid": "grid"}
_TYPED = re.compile(r"[^.=\s]+")


class EdgeValue(BaseModel):
    """A best value at an end of the range that was searched.

    Attributes:
        name: The hyperparameter.
        value: The best trial's.
        bound: The end of the range that it is at.
        upper: Whether that is the upper one.
        wider: A range that goes further.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    value: Any
    bound: float
    upper: bool
    wider: str


class RowTuning(BaseModel):
    """How one row was tuned, as `experiment.yaml` has it.

    Attributes:
        directory: The sweep's, relative to the experiment where it is inside.
        optimizer: Its name.
        model: The model that it was tuned on.
        dataset: The data set that it was tuned on.
        sampler: How the values of the trials were chosen.
        objective: What the best trial is best in.
        tuning_seeds: Runs of a trial.
        finished: Trials whose runs all finished.
        pruned: Trials that were ended early.
        diverged: Trials with a run that diverged.
        failed: Trials with a run that failed.
        values: The best values, by name.
        value: The objective of the best trial; None where it is infinite: the target was never reached.
        edges: Best values at an end of their range.
        pruner: What ended trials early; none: nothing did.
    """

    model_config = ConfigDict(frozen=True)

    directory: str
    optimizer: str
    model: str
    dataset: str
    sampler: str = "qmc"
    objective: str = "accuracy"
    tuning_seeds: int = 1
    finished: int = 0
    pruned: int = 0
    diverged: int = 0
    failed: int = 0
    values: dict[str, Any] = Field(default_factory=dict)
    value: float | None = None
    edges: tuple[EdgeValue, ...] = ()
    pruner: str = "none"

    @property
    def trials(self) -> int:
        """How many trials have ended."""
        return self.finished + self.pruned + self.diverged + self.failed

    @property
    def budget(self) -> str:
        """The number of trials in words."""
        return plural(self.trials, "trial")

    @property
    def how(self) -> str:
        """What was done in each trial, in words."""
        sampler = _SAMPLERS.get(self.sampler, self.sampler)
        objective = OBJECTIVES.get(self.objective, self.objective).removesuffix(", s")
        pruned = "" if self.pruner == "none" else f", {self.pruned} ended early by the pruner {self.pruner}"
        return f"{sampler}, {objective}, {plural(self.tuning_seeds, 'tuning seed')} a trial{pruned}"


Tunings = Mapping[str, RowTuning]
"""By label; a row that is not there was not tuned."""


def warnings_of_tuning(labels: Iterable[str], tunings: Tunings, *, model: str | None, dataset: str | None) -> list[str]:
    """Return what of the tuning is unfair, or left something to be found.

    Args:
        labels: All rows of the table.
        tunings: How they were tuned.
        model: The table's.
        dataset: The table's.
    """
    tuned = {label: tunings[label] for label in labels if label in tunings}
    if not tuned:
        return []
    warnings = []
    if len({(one.trials, one.how) for one in tuned.values()}) > 1:
        alike = len({one.how for one in tuned.values()}) == 1
        each = ", ".join(f"{label} {one.budget}{'' if alike else f' ({one.how})'}" for label, one in tuned.items())
        warnings.append(f"NOT TUNED ALIKE: {each}; more trials flatter a row")
    others = [label for label in labels if label not in tunings]
    if others:
        is_are = "is" if len(others) == 1 else "are"
        warnings.append(f"NOT TUNED ALIKE: {', '.join(others)} {is_are} not tuned, {', '.join(tuned)} tuned")
    for label, one in tuned.items():
        if model is not None and (one.model, one.dataset) != (model, dataset):
            warnings.append(f"{label} was tuned on another workload: {one.model} on {one.dataset}")
    for label, one in tuned.items():
        warnings += [_at_the_edge(label, one, edge) for edge in one.edges]
    return warnings


def notes_of_tuning(labels: Iterable[str], tunings: Tunings) -> list[str]:
    """Return how the rows were tuned, where they were tuned alike.

    Args:
        labels: All rows of the table.
        tunings: How they were tuned.
    """
    labels = list(labels)
    tuned = {label: tunings[label] for label in labels if label in tunings}
    if len({(one.trials, one.how) for one in tuned.values()}) != 1:
        return []
    one = next(iter(tuned.values()))
    each = " each" if len(tuned) > 1 else ""
    which = "" if len(tuned) == len(labels) else f": {', '.join(tuned)}"
    return [f"tuned: {one.budget}{each} ({one.how}){which}"]


def budget_of(label: str, reference: str, tunings: Tunings) -> str:
    """Return the budgets behind a row and its reference: "10 trials each", or "ring 20 trials, adamw not tuned".

    Where neither was tuned it is empty.
    """
    own, other = tunings.get(label), tunings.get(reference)
    if own is None and other is None:
        return ""
    if label == reference and own is not None:
        alike = len(tunings) > 1 and len({one.trials for one in tunings.values()}) == 1
        return f"{own.budget} each" if alike else own.budget
    if own is not None and other is not None and own.trials == other.trials:
        return f"{own.budget} each"
    pair = dict.fromkeys((label, reference))
    return ", ".join(f"{name} {tunings[name].budget if name in tunings else 'not tuned'}" for name in pair)


def written(values: Mapping[str, Any]) -> str:
    """Return values as they are typed: `lr=0.01, step_norm=rms`."""
    return ", ".join(f"{name}={_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _at_the_edge(label: str, tuning: RowTuning, edge: EdgeValue) -> str:
    """Say which end of its range a best value is at, and what to type."""
    side = "upper" if edge.upper else "lower"
    if Path(tuning.directory).is_absolute():
        move = f"grng sweep --optimizer {tuning.optimizer} --space '{edge.name}={edge.wider}'"
    else:
        row = label if _TYPED.fullmatch(label) else tuning.optimizer
        move = f"--set 'tune.spaces.{row}.{edge.name}={edge.wider}'"
    return (
        f"the best {edge.name} of {label}, {_text(edge.value)}, is at the {side} end of what was searched, "
        f"{_text(edge.bound)}: a better one may lie beyond. Move it with {move}"
    )
