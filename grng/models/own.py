"""Models that are not timm's: their names stand beside timm's, whose registry is left as it is."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from grng.errors import GrngError, suggest

if TYPE_CHECKING:
    from torch import nn

OWN_MODELS = {"two_layer": "a·relu(W x)/√m, the network of the convergence theory; kwargs width, train_output"}
"""What each is, by name."""

_FROM_THE_DATA = ("in_chans", "num_classes", "img_size")


def is_own(name: str) -> bool:
    """Return whether `name` is one of these."""
    return name in OWN_MODELS


def build_own(name: str, kwargs: dict[str, Any], img_size: int) -> nn.Module:
    """Build one of these models, its weights drawn from torch's global generator.

    Args:
        name: Its name.
        kwargs: What timm's would get.
        img_size: Height and width of the images in pixels.

    Raises:
        GrngError: It takes no such keyword argument, or not such a value.
    """
    from grng.models.pretrained import one_line
    from grng.models.two_layer import TwoLayer

    classes = {"two_layer": TwoLayer}
    given = {key: value for key, value in kwargs.items() if key != "pretrained"}
    known = [key for key in inspect.signature(classes[name]).parameters if key not in _FROM_THE_DATA]
    for key in given:
        if key not in (*known, *_FROM_THE_DATA):
            hint = suggest(key, known, otherwise=f"It takes {' and '.join(known)}.")
            raise GrngError(f"the model {name} takes no argument {key!r}.", where="model.kwargs", hint=hint)
    try:
        return classes[name](img_size=img_size, **given)
    except RuntimeError as error:  # torch, where the memory does not do
        raise GrngError(f"the model {name} cannot be built: {one_line(error)}", where="model.kwargs") from error
