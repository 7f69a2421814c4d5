"""Options about the model's weights and which of them are trained, for `grng train` and `grng compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from grng.errors import GrngError, suggest

_MODEL = "Model"

Pretrained = Annotated[
    bool | None,
    typer.Option(
        "--pretrained/--no-pretrained",
        help="Start from timm's weights; --model may have a tag, as in NAME.augreg_in1k.",
        rich_help_panel=_MODEL,
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Start from a file of weights: safetensors, torch, or a run's best.pt.",
        rich_help_panel=_MODEL,
    ),
]
WeightsMap = Annotated[
    list[str] | None,
    typer.Option(
        "--weights-map",
        metavar="OLD=NEW",
        help="Rename the file's entries that begin with OLD, or match re:OLD. Repeatable.",
        rich_help_panel=_MODEL,
    ),
]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        "--freeze",
        metavar="PATTERN",
        help="Do not train parameters of such names, e.g. 'blocks.\\[0-5].*'. Repeatable.",
        rich_help_panel=_MODEL,
    ),
]
LinearProbe = Annotated[
    bool | None,
    typer.Option(
        "--linear-probe/--no-linear-probe",
        help="Train the classifier alone.",
        rich_help_panel=_MODEL,
        show_default=False,
    ),
]
Lora = Annotated[
    str | None,
    typer.Option(
        "--lora",
        metavar="SETTINGS",
        help="Train low-rank adapters beside the layers named, and the classifier, e.g. r=8,alpha=16,target=qkv. "
        "Needs peft.",
        rich_help_panel=_MODEL,
    ),
]
DropPath = Annotated[
    float | None, typer.Option("--drop-path", help="Rate of stochastic depth.", rich_help_panel=_MODEL)
]
LayerDecay = Annotated[
    float | None,
    typer.Option(
        "--layer-decay",
        help="Factor of the learning rate from each layer to the one below it, e.g. 0.75.",
        rich_help_panel="Training",
    ),
]
NoDecay = Annotated[
    bool | None,
    typer.Option(
        "--no-decay/--decay-all",
        help="No weight decay for norms and biases.",
        rich_help_panel="Training",
        show_default=False,
    ),
]


def overrides(
    pretrained: bool | None,
    weights: Path | None,
    weights_map: list[str] | None,
    freeze: list[str] | None,
    linear_probe: bool | None,
    lora: str | None,
    drop_path: float | None,
    layer_decay: float | None,
    no_decay: bool | None,
) -> list[tuple[str, Any, str]]:
    """Return (key, value, flag) of these options, as the other flags are listed.

    Raises:
        GrngError: If --lora is malformed.
    """
    return [
        ("model.pretrained", pretrained, "--pretrained"),
        ("model.weights", weights and str(weights), "--weights"),
        ("model.weights_map", weights_map or None, "--weights-map"),
        ("model.freeze", freeze or None, "--freeze"),
        ("model.linear_probe", linear_probe, "--linear-probe"),
        ("model.lora", None if lora is None else parse_lora(lora), "--lora"),
        ("model.drop_path", drop_path, "--drop-path"),
        ("training.layer_decay", layer_decay, "--layer-decay"),
        ("training.no_decay", no_decay, "--no-decay"),
    ]


def parse_lora(text: str) -> dict[str, Any]:
    """Return the section that `r=8,alpha=16,target=[qkv,proj]` describes; its values are checked with the config.

    Raises:
        GrngError: If the text has another form.
    """
    from grng.experiments.specs import split_outside_brackets
    from grng.runs.model_section import LoraConfig
    from grng.runs.yaml_text import parse_value

    form = "Write r=8,alpha=16,target=qkv, or target=[qkv,proj] for several."
    given: dict[str, Any] = {}
    for item in split_outside_brackets(text, where="--lora") if text.strip() else []:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise GrngError(f"{item.strip()!r} is not of the form key=value.", where="--lora", hint=form)
        if key not in LoraConfig.model_fields:
            raise GrngError(
                f"there is no setting {key!r}.", where="--lora", hint=suggest(key, LoraConfig.model_fields) or form
            )
        if key in given:
            raise GrngError(f"{key!r} is given twice.", where="--lora")
        given[key] = parse_value(value)
    if not given:
        raise GrngError("is empty.", where="--lora", hint=form)
    return given
