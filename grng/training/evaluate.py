"""Loss and accuracy on a whole split, leaving no trace on the run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grng.training.seeding import preserved_rng


@dataclass(frozen=True, slots=True)
class Scores:
    """Mean cross-entropy in nats per sample, and the share of samples whose highest output is the label."""

    loss: float
    accuracy: float


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int, device: torch.device) -> Scores:
    """Measure a model on a split.

    Generators and the training mode of every module are as before when it returns. `no_grad` and not
    `inference_mode`, because a model may cache what it computes (position tables), and a cached inference tensor
    could not take part in the next step's graph.

    Args:
        model: The model.
        images: float32 [n, c, h, w].
        labels: int64 [n].
        batch_size: Samples at once; no bearing on the result beyond rounding.
        device: The model's device.
    """
    modes = {module: module.training for module in model.modules()}
    loss = torch.zeros((), dtype=torch.float64)
    correct = 0
    with preserved_rng(), torch.no_grad():
        try:
            model.eval()
            for some_images, some_labels in zip(
                torch.split(images, batch_size), torch.split(labels, batch_size), strict=True
            ):
                outputs = model(some_images.to(device))
                targets = some_labels.to(device)
                loss += F.cross_entropy(outputs, targets, reduction="sum").cpu().double()
                correct += int((outputs.argmax(dim=1) == targets).sum())
        finally:
            for module, mode in modes.items():
                module.training = mode
    return Scores(loss=loss.item() / len(labels), accuracy=correct / len(labels))
