"""The section of a configuration that describes the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from grng.runs.schema import Count, Name, NamedSection, Plain, Positive, Section, absolute

Rate = Annotated[float, Field(ge=0, lt=1)]


def _weights_path(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or not value.isprintable()):
        raise PydanticCustomError("weights", "must be a path, neither empty nor with control characters")
    return value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class LoraConfig(Section):
    """Low-rank adapters beside frozen layers (needs peft)."""

    r: Count = 8
    """Rank of the adapters."""
    alpha: Positive = 16.0
    """α: the adapters count α/r."""
    target: Annotated[list[Name], Field(min_length=1), BeforeValidator(_one_or_many)] = Field(
        default_factory=lambda: ["qkv"]
    )
    """Names of linear or convolutional layers, or the last parts of them: `qkv`, `attn.proj`."""
    dropout: Rate = 0.0
    """Dropout on the adapters' input."""


class ModelConfig(NamedSection):
    """Which model, where its weights are from, and which of them are trained."""

    alternatives: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"pretrained", "weights"}),)

    name: Name = "test_resnet"
    """A timm model, or `two_layer`: `grng models list`."""
    pretrained: bool = False
    """Load timm's weights from the hub or its cache; the name may have a tag, `vit_base_patch16_224.augreg_in21k`."""
    weights: Annotated[Path, Field(strict=False), BeforeValidator(_weights_path)] | None = None
    """A file of weights to start from: safetensors, or what torch.save or grng itself writes."""
    weights_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The SHA-256 that the file of weights must have; null: whatever it has, which is then written down."""
    weights_map: Annotated[list[Name], BeforeValidator(_one_or_many)] = Field(default_factory=list)
    """Rules `old=new` that rename the file's entries: `old` is what names begin with, or `re:PATTERN`."""
    freeze: Annotated[list[Name], BeforeValidator(_one_or_many)] = Field(default_factory=list)
    """Patterns of names of parameters that are not trained, e.g. `blocks.[0-5].*`."""
    linear_probe: bool = False
    """Train the classifier alone."""
    drop_path: Rate | None = None
    """Rate of stochastic depth; null: the model's own."""
    lora: LoraConfig | None = None
    """Low-rank adapters beside frozen layers."""
    kwargs: dict[str, Plain] = Field(default_factory=dict)
    """Keyword arguments of the model's constructor, e.g. `drop_rate: 0.1`."""

    @model_validator(mode="after")
    def _fits_together(self) -> ModelConfig:
        for key, given, other, clashes in (
            ("weights", self.weights is not None, "pretrained", self.pretrained),
            ("lora", self.lora is not None, "linear_probe", self.linear_probe),
            ("freeze", bool(self.freeze), "linear_probe", self.linear_probe),
            ("drop_path", self.drop_path is not None, "kwargs.drop_path_rate", "drop_path_rate" in self.kwargs),
        ):
            if given and clashes:
                text = f"{key} and {other} exclude each other; give one"
                raise PydanticCustomError("alternatives", "{text}", {"text": text, "key": key})
        for key in ("weights_map", "weights_sha256"):
            if getattr(self, key) and self.weights is None:
                text = f"{key} is about a file of weights, and there is none: set weights"
                raise PydanticCustomError("alternatives", "{text}", {"text": text, "key": key})
        return self

    def arguments(self) -> dict[str, Any]:
        """Return what `grng.models.prepare_model` takes of it."""
        given: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        return {**given, "lora": None if self.lora is None else self.lora.model_dump()}

    def undownloaded(self) -> dict[str, Any]:
        """Return the arguments of the same model with fresh weights in place of what would be downloaded."""
        if not self.pretrained:
            return self.arguments()
        return {**self.arguments(), "pretrained": False, "name": self.name.partition(".")[0]}


Attempt = Callable[[tuple[str | int, ...], Callable[[], Any]], Any]


def resolved_model(model: ModelConfig, attempt: Attempt) -> Mapping[str, Any]:
    """Check the names in `model`; return what resolving fills in: the tag of pretrained weights, a file's SHA-256.

    Args:
        model: The section.
        attempt: Does a check for the key that it is given, and returns None where it fails.
    """
    from grng.errors import GrngError
    from grng.models import check_model_kwargs, check_model_name, pretrained_name

    changes: dict[str, Any] = {}
    if model.pretrained:
        changes["name"] = attempt(("model", "name"), lambda: pretrained_name(model.name))
    else:
        attempt(("model", "name"), lambda: check_model_name(model.name))
    attempt(("model", "kwargs"), lambda: check_model_kwargs(model.kwargs))
    path = model.weights
    if path is None:
        return changes

    def sha256() -> str:
        from grng.models.weights_file import weights_sha256

        found = weights_sha256(path)
        if model.weights_sha256 not in (None, found):
            raise GrngError(
                f"{path} is another file than is meant: its SHA-256 is {found}, not {model.weights_sha256}.",
                hint="Put the file back that the run began with, or set model.weights_sha256=null for another run.",
            )
        return found

    def rules() -> None:
        from grng.models.weights_map import check_rules

        check_rules(model.weights_map)

    changes["weights"] = absolute(path)
    changes["weights_sha256"] = attempt(("model", "weights"), sha256)
    attempt(("model", "weights_map"), rules)
    return changes
