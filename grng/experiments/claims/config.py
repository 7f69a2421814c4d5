"""What a comparison is asked besides its table: claims, and the plan of its seeds."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, StringConstraints, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from grng.runs.schema import InputPath, Name, Section, string_or_section

Share = Annotated[float, Field(gt=0, lt=1)]


class ClaimConfig(Section):
    """A claim about the runs (docs/claims.md); a bare string is the claim."""

    claim: Annotated[str, StringConstraints(min_length=1)]
    """`ring.steps_to_target < adamw.steps_to_target`, `ring.test_accuracy = reng.test_accuracy ± 0.005`."""
    name: Name | None = None
    """How tables call it; null: the claim itself."""

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return {"claim": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return string_or_section(core, handler, "The claim.")


class PlanningConfig(Section):
    """How many seeds a comparison takes: what `--plan` works out; no part of any run."""

    alternatives: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"spread", "pilot"}),)

    effect: Share | None = None
    """The difference in test accuracy to be found, a fraction: 0.01 is a point."""
    power: Share = 0.8
    """Probability of finding it."""
    alpha: Share = 0.05
    """Significance after Holm's correction over the rows."""
    spread: Share | None = None
    """Standard deviation of the paired differences in test accuracy, a fraction; or `pilot`."""
    pilot: InputPath | None = None
    """An earlier comparison's directory, whose differences tell the spread; or `spread`."""

    @model_validator(mode="after")
    def _one_source(self) -> PlanningConfig:
        if self.spread is not None and self.pilot is not None:
            text = "spread and pilot exclude each other; give one"
            raise PydanticCustomError("alternatives", "{text}", {"text": text, "key": "spread"})
        return self
