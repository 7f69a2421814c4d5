"""How long the runs of a comparison are: epochs, steps, or seconds that become steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from grng.runs.schema import Count, Positive
from grng.runs.sections import TrainingBase

LENGTHS = ("epochs", "steps", "seconds")


def one_length(value: Mapping[str, Any]) -> str | None:
    """Return which of the lengths is given, None where none is; refuse two of them."""
    given = [key for key in LENGTHS if value.get(key) is not None]
    if len(given) > 1:
        text = f"{' and '.join(given)} exclude each other; give one"
        raise PydanticCustomError("alternatives", "{text}", {"text": text, "key": given[-1]})
    return given[0] if given else None


TUNED: Literal["tuned"] = "tuned"
"""The target that tuning tells."""


def _target(value: Any) -> Any:
    """Take a share or `tuned`; pydantic's own message would be one for each of the two."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or value == TUNED or (number and 0 < value <= 1):
        return value
    shown = f"{value:g}" if number else repr(value)
    text = f"must be a validation accuracy above 0 and at most 1, or the word `tuned`, not {shown}"
    raise PydanticCustomError("target", "{text}", {"text": text})


class BudgetConfig(TrainingBase):
    """As a run's `training`, and a budget in seconds: each optimizer gets the steps that it does in that time."""

    alternatives: ClassVar[tuple[frozenset[str], ...]] = (frozenset(LENGTHS),)

    eval_every: Count | None = 9
    """Steps between evaluations, besides those at every epoch's end: how finely time to target is told."""
    seconds: Positive | None = None
    """Training seconds per run, instead of `epochs` or `steps`; measured once per optimizer and turned into steps."""

    target: Annotated[float | Literal["tuned"] | None, BeforeValidator(_target)] = None
    """Validation accuracy to reach, a fraction; `tuned`: what the reference's best trial came to; null: the data set's
    default."""

    @model_validator(mode="before")
    @classmethod
    def _epochs_or_steps(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return value if one_length(value) else {**value, "epochs": 3}
