"""Parameter groups: read from what the user gives, and checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from grng.errors import GrngError, HyperparameterError, suggest
from grng.optim.hyperparameters import read_signature

ParamsInput = Iterable[Any] | None

# what torch, its schedulers, timm and we ourselves keep in groups beside the defaults
_GROUP_KEYS = frozenset({"params", "param_names", "initial_lr", "lr_scale", "rule"})


def check_groups(optimizer: type, groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
    """Refuse what a parameter group cannot set, and check what it does set as the constructor does.

    Raises:
        HyperparameterError: Naming the key.
    """
    known = read_signature(optimizer)
    for group in groups:
        for key, value in group.items():
            if key in _GROUP_KEYS:
                continue
            if key not in defaults:
                hint = suggest(key, defaults, otherwise=f"Groups may set: {', '.join(defaults)}.")
                raise HyperparameterError(f"a parameter group cannot set {key!r}.", where=key, hint=hint)
            if key in known:
                group[key] = known[key].check(value)


def parameter_groups(model: nn.Module, params: ParamsInput) -> list[dict[str, Any]]:
    """Bring `params` to a list of groups: None is every trainable parameter of the model.

    Raises:
        GrngError: Parameters that are not the model's, or none at all.
    """
    if not isinstance(model, nn.Module):
        raise GrngError(
            f"the first argument must be the model, got {type(model).__name__}.",
            where="model",
            hint="Curvature is measured on the model's layers: write RING(model), not RING(model.parameters()).",
        )
    given: list[Any] = [p for p in model.parameters() if p.requires_grad] if params is None else list(params)
    if given and not isinstance(given[0], dict):
        given = [{"params": given}]
    groups = []
    for group in given:
        members = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        groups.append({**group, "params": [entry[1] if isinstance(entry, tuple) else entry for entry in members]})
    own = set(model.parameters())
    if any(p not in own for group in groups for p in group["params"]):
        raise GrngError(
            "params holds a tensor that is no parameter of the model.",
            where="params",
            hint="Pass parameters of this very model.",
        )
    if not any(group["params"] for group in groups):
        raise GrngError(
            "there is nothing to train: no trainable parameter.",
            where="params",
            hint="Unfreeze some, or pass them in params.",
        )
    return groups
