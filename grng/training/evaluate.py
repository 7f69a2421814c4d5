"""Loss and accuracy on a whole split, leaving no trace on the run."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Measure a model on tensors; see `evaluate_batches`.

    Args:
        model: The model.
        images: float32 [n, c, h, w].
        labels: int64 [n].
        batch_size: Samples at once; no bearing on the result beyond rounding.
        device: The model's device.
    """
    pairs = zip(torch.split(images, batch_size), torch.split(labels, batch_size), strict=True)
    return evaluate_batches(model, ((some.to(device), targets.to(device)) for some, targets in pairs))


def evaluate_batches(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
    """Measure a model on a split.

    Generators and the training mode of every module are as before when it returns. `no_grad` and not
    `inference_mode`, because a model may cache what it computes (position tables), and a cached inference tensor
    could not take part in the next step's graph.

    Args:
        model: The model.
        batches: Images float32 [n, c, h, w] and labels int64 [n] on the model's device, at least one of each.
    """
    modes = {module: module.training for module in model.modules()}
    loss = torch.zeros((), dtype=torch.float64)
    correct, count = 0, 0
    with preserved_rng(), torch.no_grad():
        try:
            model.eval()
            for images, targets in batches:
                outputs = model(images)
                loss += F.cross_entropy(outputs, targets, reduction="sum").cpu().double()
                correct += int((outputs.argmax(dim=1) == targets).sum())
                count += len(targets)
        finally:
            for module, mode in modes.items():
                module.training = mode
    return Scores(loss=loss.item() / count, accuracy=correct / count)
