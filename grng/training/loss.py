"""The loss of a run, for training and evaluation alike: a mean over samples of negative log-likelihoods, in nats.

That of the squared error is without its constant, (classes / 2) log 2π, so that a perfect fit is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from grng.curvature.precision import wide

LossName = Literal["ce", "bce", "mse"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Softmax cross-entropy (`ce`), one binary cross-entropy a class (`bce`), or half the squared error (`mse`).

    The last two are summed over classes, because that is the negative log-likelihood of independent labels, or of
    independent normal targets of variance 1, whose curvature optimizers measure; torch's own means over classes are
    smaller by their number, and its squared error larger by 2.
    """

    name: LossName = "ce"

    def targets(self, labels: Tensor, num_classes: int) -> Tensor:
        """Return what the loss and the optimizer are given.

        Args:
            labels: int64 [n], or class probabilities [n, classes].
            num_classes: Number of classes.

        Returns:
            `labels`; for `bce` and `mse` class indices become float32 [n, classes] of zeros and ones.
        """
        if self.name == "ce" or labels.is_floating_point():
            return labels
        return F.one_hot(labels, num_classes).float()

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over samples; arguments as for calling it."""
        return self._reduced(wide(outputs), targets, "sum")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over samples, in float32 or better.

        Args:
            outputs: The model's outputs [n, classes].
            targets: What `targets` returned.
        """
        mean = self._reduced(wide(outputs), targets, "mean")
        return mean if self.name == "ce" else mean * outputs.shape[1]

    def _reduced(self, outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
        if targets.is_floating_point():
            targets = targets.to(outputs.dtype)
        if self.name == "mse":
            return 0.5 * F.mse_loss(outputs, targets, reduction=reduction)
        if self.name == "bce":
            return F.binary_cross_entropy_with_logits(outputs, targets, reduction=reduction)
        return F.cross_entropy(outputs, targets, reduction=reduction)


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return for each sample whether its highest output is the label; for probabilities the most probable class.

    Args:
        outputs: The model's outputs [n, classes].
        targets: int64 [n], or probabilities [n, classes].
    """
    labels = targets.argmax(dim=1) if targets.is_floating_point() else targets
    return outputs.argmax(dim=1) == labels
