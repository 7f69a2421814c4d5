"""The two-layer network of the convergence theory: f(x) = a·relu(W x) / √m, of which W alone is trained.

Du et al. (2019, arXiv 1810.02054) prove for it that gradient descent reaches loss 0 at a geometric rate when the width
m is large; Zhang, Martens & Grosse (2019, arXiv 1905.10961) that natural gradient descent and K-FAC do, and faster. W
begins with standard normal entries, the output signs a are ±1 and stay as they are; there are no biases.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from grng.errors import GrngError

DEFAULT_WIDTH = 512
MAX_WIDTH = 1_000_000

_KWARGS = "model.kwargs"


class TwoLayer(nn.Module):
    """f_c(x) = Σ_r a_cr relu(w_r·x) / √m for every class c.

    The factor 1/√m stands outside of the layers, so that their weights, and a learning rate, have the theory's scale.

    Args:
        in_chans: Channels of the images.
        num_classes: Number of classes.
        img_size: Height and width in pixels; x has in_chans · img_size² entries.
        width: Number of hidden units, m.
        train_output: Train a, too.

    Raises:
        GrngError: A keyword argument of another type or out of range.
    """

    def __init__(
        self, *, in_chans: int, num_classes: int, img_size: int, width: int = DEFAULT_WIDTH, train_output: bool = False
    ) -> None:
        super().__init__()
        if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= MAX_WIDTH:
            raise _wrong("width", f"a whole number from 1 to {MAX_WIDTH:,}", width)
        if not isinstance(train_output, bool):
            raise _wrong("train_output", "true or false", train_output)
        self.width = width
        self.hidden = nn.Linear(in_chans * img_size**2, width, bias=False)
        self.output = nn.Linear(width, num_classes, bias=False)
        with torch.no_grad():
            self.hidden.weight.normal_()
            self.output.weight.copy_(2.0 * torch.randint(0, 2, self.output.weight.shape) - 1.0)
        self.output.weight.requires_grad_(train_output)

    def forward(self, images: Tensor) -> Tensor:
        """Return [n, classes] for images [n, c, h, w]."""
        outputs: Tensor = self.output(self.hidden(images.flatten(1)).relu()) / math.sqrt(self.width)
        return outputs

    def get_classifier(self) -> nn.Module:
        """Return the output layer, as timm's models do."""
        return self.output

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return which layer is above which, for `layer_decay`, as timm's models do: what is not named comes last."""
        return {"stem": r"^hidden"}


def _wrong(name: str, allowed: str, value: Any) -> GrngError:
    return GrngError(f"{name} of two_layer must be {allowed}, not {value!r}.", where=_KWARGS)
