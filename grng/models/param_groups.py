"""Parameter groups by timm's rules: learning rates that fall towards the input, no weight decay on norms and biases.

timm computes the groups; here they become what every optimizer takes: `lr` and `weight_decay`, set only where they
differ from the optimizer's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from grng.errors import GrngError

_LAYER_DECAY = "training.layer_decay"
_DECAYED = 1.0  # timm's groups carry it where the optimizer's own weight decay holds


def parameter_groups(
    model: nn.Module, hyperparameters: Mapping[str, Any], *, layer_decay: float | None, no_decay: bool
) -> list[dict[str, Any]] | None:
    """Return parameter groups for an optimizer, that with the highest learning rate first; None: one for all will do.

    Args:
        model: timm's model; frozen parameters are left out.
        hyperparameters: The optimizer's; `lr` is the rate of the last layers.
        layer_decay: Factor of the learning rate from each layer to the one below, by timm's grouping of layers
            (`group_matcher`); None: the same rate for all.
        no_decay: No weight decay for parameters of one dimension (norms, biases) and those that the model names
            (`no_weight_decay()`: position embeddings, class tokens).

    Raises:
        GrngError: If the optimizer has no learning rate to scale, or the model's layers cannot be told apart.
    """
    if layer_decay is None and not no_decay:
        return None
    exempt = _exempt(model) if no_decay else []
    if layer_decay is None:
        from timm.optim import param_groups_weight_decay

        groups = param_groups_weight_decay(model, weight_decay=_DECAYED, no_weight_decay_list=exempt)
        return [_plain(group) for group in groups]
    from timm.optim import param_groups_layer_decay

    lr = hyperparameters.get("lr")
    if not isinstance(lr, (int, float)) or isinstance(lr, bool):
        raise GrngError(
            "layer-wise decay scales the learning rate, and this optimizer has none.",
            where=_LAYER_DECAY,
            hint="Give it one, lr=0.001, or leave layer_decay out.",
        )
    groups = param_groups_layer_decay(
        model,
        weight_decay=_DECAYED,
        no_weight_decay_list=exempt,
        weight_decay_exclude_1d=no_decay,
        layer_decay=layer_decay,
    )
    if layer_decay != 1 and len({group["lr_scale"] for group in groups}) == 1 and _several_layers(model):
        raise GrngError(
            "timm does not tell the layers of this model apart.", where=_LAYER_DECAY, hint="Leave layer_decay out."
        )
    groups.sort(key=lambda group: -group["lr_scale"])  # what is logged as `lr` is the first group's
    return [{**_plain(group), "lr": lr * group["lr_scale"]} for group in groups]


def _plain(group: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"params": group["params"]}
    return kept if group["weight_decay"] == _DECAYED else {**kept, "weight_decay": 0.0}


def _exempt(model: Any) -> list[str]:
    return list(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else []


def _several_layers(model: nn.Module) -> bool:
    """Return whether trainable parameters are in more than one layer; a linear probe trains one, and that is fine."""
    return len({name.rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad}) > 1
