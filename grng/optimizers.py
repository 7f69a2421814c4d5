"""One call for every optimizer: our registry's, torch's own classes, and all of timm's under `timm:NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from grng.errors import UnknownNameError, suggest

if TYPE_CHECKING:
    import torch
    from torch import nn

    from grng.optim.groups import ParamsInput
    from grng.optim.hyperparameters import Hyperparameter
    from grng.optim.registry import OptimizerInfo

TIMM_PREFIX = "timm:"


def list_optimizers() -> list[OptimizerInfo]:
    """Return the registry's rows in their order (timm's optimizers are reachable as `timm:NAME` beside them)."""
    from grng.optim.registry import REGISTRY

    return list(REGISTRY.values())


def list_timm_optimizers() -> list[str]:
    """Return timm's optimizers as `timm:NAME`."""
    from grng.timm_optimizers import names

    return [TIMM_PREFIX + name for name in names()]


def check_optimizer_name(name: str) -> None:
    """Raise UnknownNameError, with the nearest names, unless `name` is in the registry or is timm:NAME."""
    if name.startswith(TIMM_PREFIX):
        known = list_timm_optimizers()
        if name not in known:
            raise UnknownNameError(
                f"unknown timm optimizer {name!r}.", hint=suggest(name, known, otherwise="See `grng optimizers list`.")
            )
        return
    from grng.optim.registry import find

    find(name)


def hyperparameters(name: str) -> dict[str, Hyperparameter]:
    """Return the hyperparameters of an optimizer by name, with type, default, range and meaning."""
    check_optimizer_name(name)
    if name.startswith(TIMM_PREFIX):
        from grng.timm_optimizers import timm_hyperparameters

        return timm_hyperparameters(name.removeprefix(TIMM_PREFIX))
    from grng.optim.registry import find

    return find(name).hyperparameters()


def resolve_hyperparameters(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check `given` and return all hyperparameters of `name`, defaults filled in.

    Raises:
        UnknownNameError: No such optimizer.
        HyperparameterError: Unknown, ill-typed, out of range, or without effect; `where` is the hyperparameter's name.
    """
    from grng.optim.hyperparameters import check_together, check_values, fill_in

    values = check_values(hyperparameters(name), given, owner=name)
    if not name.startswith(TIMM_PREFIX):
        from grng.optim.registry import find

        optimizer = find(name).optimizer_class()
        check_together(optimizer, values)
        values = fill_in(optimizer, values)
    return values


def differentiates_twice(name: str, values: Mapping[str, Any]) -> bool:
    """Whether some steps of `name` need `backward(create_graph=True)`.

    Args:
        name: A name of `list_optimizers()`, or `timm:NAME`.
        values: Its hyperparameters, defaults filled in.
    """
    if name.startswith(TIMM_PREFIX):
        from grng.timm_optimizers import is_second_order

        return is_second_order(name.removeprefix(TIMM_PREFIX))
    from grng.optim.registry import find

    regularised = values.get("hvp", "double_backprop") == "double_backprop" and values.get("rho") != 0
    return "create_graph" in find(name).needs and regularised


def create_optimizer(
    name: str, model: nn.Module, *, params: ParamsInput = None, seed: int = 0, **hyperparameters: Any
) -> torch.optim.Optimizer:
    """Make any optimizer by name, ready for the loop in docs/own-loop.md.

    Args:
        name: A name of `list_optimizers()`, or `timm:NAME`.
        model: The model that will be trained.
        params: Parameters or groups of the model; None for all trainable ones.
        seed: Seed of the optimizer's own generator (sampled labels, Hutchinson vectors).
        hyperparameters: By name; see `hyperparameters(name)`.

    Returns:
        A `torch.optim.Optimizer` with `observe`, `is_second_order`, `needs_closure`, `diagnostics`, `coverage` and
        `close`.
    """
    values = resolve_hyperparameters(name, hyperparameters)
    if name.startswith(TIMM_PREFIX):
        from grng.timm_optimizers import create

        return create(name.removeprefix(TIMM_PREFIX), model, params, values)
    from grng.optim.registry import find

    row = find(name)
    constructor: Any = row.optimizer_class()
    created: torch.optim.Optimizer = constructor(model, params, seed=seed, **row.fixed, **values)
    return created
