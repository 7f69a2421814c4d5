"""When each layer's inverses are refreshed: spread over the interval, so that no step pays for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from grng.curvature.layers import Layer


def spread_refreshes(layers: Sequence[Layer], interval: int) -> dict[nn.Parameter, int]:
    """Return, by weight, the step of every interval in which a layer is due, the work shared out as evenly as it goes.

    The work of a layer is taken as groups · (in³ + out³); the dearest first, each to the step with least work so far.
    """
    loads = [0] * interval
    phases: dict[nn.Parameter, int] = {}
    for layer in sorted(layers, key=_work, reverse=True):  # stable: equal layers keep the model's order
        phase = loads.index(min(loads))
        loads[phase] += _work(layer)
        phases[layer.weight] = phase
    return phases


def _work(layer: Layer) -> int:
    return layer.groups * (layer.input_size**3 + layer.output_size**3)
