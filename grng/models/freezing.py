"""Parameters that stay as they are: by patterns of their names, or all but the classifier (a linear probe).

A BatchNorm layer whose parameters are frozen stays in evaluation mode: in training mode its running statistics would
still follow the data, and the layers above would be trained on features that evaluation does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from grng.errors import GrngError, nearest
from grng.models.classifier import belongs, classifier_modules

_FREEZE = "model.freeze"
_SHOWN = 6


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose names match one of `patterns`, with `*`, `?` and `[…]` as in file names.

    Raises:
        GrngError: If a pattern matches none, or nothing would be left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matched = [parameter for name, parameter in parameters.items() if fnmatchcase(name, pattern)]
        if not matched:
            raise GrngError(
                f"no parameter's name matches {pattern!r}.", where=_FREEZE, hint=_near(pattern, list(parameters))
            )
        for parameter in matched:
            parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise GrngError(
            f"{', '.join(map(repr, patterns))} freezes every parameter: nothing is left to train.",
            where=_FREEZE,
            hint="Leave the classifier out, or set model.linear_probe (--linear-probe).",
        )


def freeze_all_but_classifier(model: nn.Module, *, where: str) -> None:
    """Freeze everything but the classifier.

    Raises:
        GrngError: If timm does not say where the classifier is, or it has no parameters.
    """
    head = classifier_modules(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(belongs(name, head))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise GrngError(
            "timm does not say which of this model's layers is the classifier.",
            where=where,
            hint="Freeze the others by their names instead: model.freeze (--freeze 'PATTERN').",
        )


def frozen_norms(model: nn.Module) -> list[nn.Module]:
    """Return the BatchNorm layers that are frozen; those without parameters count as frozen where their parent is."""
    found: list[nn.Module] = []
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm):
            continue
        own = list(module.parameters()) or list(model.get_submodule(name.rpartition(".")[0]).parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            found.append(module)
    return found


def set_training_mode(model: nn.Module) -> None:
    """Put `model` into training mode, frozen BatchNorm layers excepted."""
    model.train()
    for module in frozen_norms(model):
        module.eval()


def freezing_line(model: nn.Module) -> str | None:
    """Return in words what of `model` is frozen; None: nothing is."""
    parameters = list(model.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    if trained == total:
        return None
    norms = len(frozen_norms(model))
    kept = f"; {norms} frozen BatchNorm layer{'s' if norms > 1 else ''} in evaluation mode" if norms else ""
    return f"frozen: {total - trained:,} of {total:,} parameters, {trained:,} train{kept}"


def _near(pattern: str, names: Sequence[str]) -> str:
    """Return a hint: names of parameters or layers near the pattern, else the first layers."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    tops = list(dict.fromkeys(name.partition(".")[0] for name in names))
    bare = pattern.replace("*", "").strip(".")
    near = nearest(bare, [*tops, *layers, *names])
    if near:
        known = set(names)
        written = [name if name in known else f"{name}.*" for name in near]
        return f"Did you mean {' or '.join(map(repr, written))}?"
    more = ", …" if len(tops) > _SHOWN else ""
    return f"Its names begin with {', '.join(tops[:_SHOWN])}{more}."
