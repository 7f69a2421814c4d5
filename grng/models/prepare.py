"""A model as a run trains it: built, its weights loaded, adapters put in, a part of it frozen, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng.errors import GrngError
from grng.models.build import create_model
from grng.models.names import pretrained_name
from grng.models.pretrained import noting_gaps

if TYPE_CHECKING:
    from torch import nn

    from grng.models.report import LoadedWeights


@dataclass(frozen=True)
class PreparedModel:
    """What `prepare_model` returns.

    Args:
        model: The model.
        weights: Where its weights are from; None: they are fresh.
        notes: What was loaded, adapted and frozen, in lines.
    """

    model: nn.Module
    weights: LoadedWeights | None = None
    notes: tuple[str, ...] = field(default=())


def prepare_model(
    name: str,
    *,
    channels: int,
    num_classes: int,
    img_size: int,
    pretrained: bool = False,
    weights: Path | None = None,
    weights_sha256: str | None = None,
    weights_map: Sequence[str] = (),
    freeze: Sequence[str] = (),
    linear_probe: bool = False,
    drop_path: float | None = None,
    lora: Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> PreparedModel:
    """Build a model as a configuration's `model` section describes it.

    Fresh weights (adapters, a new classifier) are drawn from torch's global generator; the same draws whether others
    are then loaded over them or not.

    Args:
        name: See `create_model`.
        channels: See `create_model`.
        num_classes: See `create_model`.
        img_size: See `create_model`.
        pretrained: See `create_model`.
        weights: A file to load: `grng.models.fitting.load_weights`.
        weights_sha256: What the file's SHA-256 must be.
        weights_map: Rules that rename its entries: `grng.models.weights_map`.
        freeze: Patterns of names of parameters that are not trained.
        linear_probe: Train the classifier alone.
        drop_path: Rate of stochastic depth.
        lora: r, alpha, target and dropout of adapters: `grng.models.lora.add_lora`.
        kwargs: Keyword arguments of the model's constructor.

    Raises:
        GrngError: If something of it cannot be had; `where` is the key.
    """
    arguments = dict(kwargs or {})
    if drop_path is not None:
        arguments["drop_path_rate"] = drop_path
    name = pretrained_name(name) if pretrained else name
    try:
        with noting_gaps() as gaps:
            model = create_model(
                name, channels=channels, num_classes=num_classes, img_size=img_size, pretrained=pretrained, **arguments
            )
    except GrngError as error:
        if drop_path is None or "'drop_path_rate'" not in error.message:
            raise
        raise _no_drop_path(name) from error
    if drop_path:
        _check_drop_path(model, name)
    loaded = None
    if pretrained:
        from grng.models.report import pretrained_report

        loaded = pretrained_report(model, name, gaps, channels=channels, num_classes=num_classes)
    elif weights is not None:
        from grng.models.fitting import load_weights

        loaded = load_weights(model, weights, name=name, channels=channels, rules=weights_map)
        if weights_sha256 not in (None, loaded.sha256):
            raise GrngError(f"{weights} has changed while it was read.", where="model.weights")
    notes = loaded.lines() if loaded else []
    if lora is not None:
        from grng.models.lora import add_lora

        notes.append(add_lora(model, **lora, shape=(channels, img_size, img_size)))
    if linear_probe or freeze or lora is not None:
        notes += _frozen(model, freeze, linear_probe=linear_probe)
    return PreparedModel(model, loaded, tuple(notes))


def _frozen(model: nn.Module, patterns: Sequence[str], *, linear_probe: bool) -> list[str]:
    from grng.models import freezing

    if linear_probe:
        freezing.freeze_all_but_classifier(model, where="model.linear_probe")
    freezing.freeze(model, patterns)
    line = freezing.freezing_line(model)
    return [line] if line else []


def _check_drop_path(model: nn.Module, name: str) -> None:
    """Refuse a rate that the model took and does not use."""
    if not any(type(module).__name__ == "DropPath" for module in model.modules()):
        raise _no_drop_path(name)


def _no_drop_path(name: str) -> GrngError:
    return GrngError(
        f"the model {name} has no blocks that stochastic depth could drop.",
        where="model.drop_path",
        hint="Leave it out; dropout before the classifier is model.kwargs.drop_rate.",
    )
