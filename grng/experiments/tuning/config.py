"""The schema of a comparison's tuning: how every row finds its hyperparameters before it is reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from grng.experiments.sweeps.config import Objective, Sampler
from grng.experiments.sweeps.tuning_seeds import MAX_COUNT
from grng.runs.schema import Count, Name, Plain, Section, Seed


class TuneConfig(Section):
    """How the rows of a comparison are tuned before their reporting runs: one sweep a row (docs/sweep.md)."""

    shorthand: ClassVar[str | None] = "trials"

    trials: Count | None = None
    """Trials of each row, over its own declared space; null: the rows are not tuned."""
    sampler: Sampler = "qmc"
    """`qmc`: a scrambled Sobol sequence; `random`; `tpe`: where earlier trials were good; `grid`: all combinations."""
    objective: Objective = "accuracy"
    """What is best, on validation data."""
    tuning_seeds: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1
    """Runs of a trial, each with a seed that is never used for reporting; its value is their mean."""
    seed: Seed = 0
    """Seed of the samplers."""
    spaces: dict[Name, dict[str, Plain]] = Field(default_factory=dict)
    """Changes to the declared spaces, by label or optimizer: `ring: {lr: log(1e-3, 1)}`; null: not searched."""

    @model_validator(mode="before")
    @classmethod
    def _trials_alone(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | TuneConfig) else {"trials": value}

    @model_validator(mode="after")
    def _how_needs_how_often(self) -> Self:
        given = sorted(self.model_fields_set - {"trials"})
        if "trials" in self.model_fields_set:  # a config that was written out has all keys
            given = [name for name in given if getattr(self, name) != getattr(type(self)(), name)]
        if self.trials is None and given:
            text = "belongs to a number of trials that each row gets: --tune N, tune.trials"
            raise PydanticCustomError("tune", "{text}", {"text": text, "key": given[0]})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(core)
        schema = handler.resolve_ref_schema(reference)
        full = dict(schema)
        schema.clear()
        schema.update({"anyOf": [{"type": "integer", "minimum": 1, "description": "The trials."}, full]})
        return reference

    @property
    def settings(self) -> dict[str, Any] | None:
        """What two tunings must have in common to be the same, spaces aside; None: nothing is tuned."""
        return None if self.trials is None else self.model_dump(mode="json", exclude={"spaces"})
