"""The moving average of the weights, timm's `ModelEmaV3`: what is evaluated where there is one.

    after step t:  w ← d_t w + (1 − d_t) θ,   d_1 = 0,  d_t = d,   or with a warm-up min(d, 1 − t^(−2/3))

Floating-point buffers (BatchNorm's running statistics) are averaged like weights, counters are copied.
"""

from __future__ import annotations

from typing import Any

from timm.utils import ModelEmaV3
from torch import nn


class WeightAverage:
    """The average of a model's weights over its steps.

    Made before an optimizer has hooks on the model.

    Args:
        model: The model at its initial weights.
        decay: d.
        warmup: Whether the decay rises to d.
    """

    def __init__(self, model: nn.Module, *, decay: float, warmup: bool) -> None:
        self._average = ModelEmaV3(model, decay=decay, use_warmup=warmup)
        self._average.requires_grad_(False)

    @property
    def model(self) -> nn.Module:
        """The model with the averaged weights, in eval mode."""
        module: nn.Module = self._average.module
        return module

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        self._average.update(model, step=step)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and buffers, named as the model's."""
        return dict(self.model.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from averaged weights."""
        self.model.load_state_dict(state)
