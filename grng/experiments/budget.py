"""How long the runs of a comparison are: epochs, steps, or seconds that become steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from grng.runs.schema import Count, Positive
from grng.runs.sections import TrainingConfig

LENGTHS = ("epochs", "steps", "seconds")


def one_length(value: Mapping[str, Any]) -> str | None:
    """Return which of the lengths is given, None where none is; refuse two of them."""
    given = [key for key in LENGTHS if value.get(key) is not None]
    if len(given) > 1:
        text = f"{' and '.join(given)} exclude each other; give one"
        raise PydanticCustomError("alternatives", "{text}", {"text": text, "key": given[-1]})
    return given[0] if given else None


class BudgetConfig(TrainingConfig):
    """As a run's `training`, and a budget in seconds: each optimizer gets the steps that it does in that time."""

    alternatives: ClassVar[tuple[frozenset[str], ...]] = (frozenset(LENGTHS),)

    eval_every: Count | None = 9
    """Steps between evaluations, besides those at every epoch's end: how finely time to target is told."""
    seconds: Positive | None = None
    """Training seconds per run, instead of `epochs` or `steps`; measured once per optimizer and turned into steps."""

    @model_validator(mode="before")
    @classmethod
    def _epochs_or_steps(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return value if one_length(value) else {**value, "epochs": 3}
