"""Loss and accuracy on a whole split, leaving no trace on the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grng.training.distributed import ALONE, World
from grng.training.loss import Loss, correct
from grng.training.precision import Precision
from grng.training.seeding import preserved_rng


@dataclass(frozen=True, slots=True)
class Scores:
    """Mean loss in nats per sample, and the share of samples whose highest output is the label."""

    loss: float
    accuracy: float


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    device: torch.device,
    loss: Loss | None = None,
    precision: Precision | None = None,
) -> Scores:
    """Measure a model on tensors; see `evaluate_batches`.

    Args:
        model: The model.
        images: float32 [n, c, h, w].
        labels: int64 [n].
        batch_size: Samples at once; no bearing on the result beyond rounding.
        device: The model's device.
        loss: The training's; None: softmax cross-entropy.
        precision: The training's; None: float32.
    """
    pairs = zip(torch.split(images, batch_size), torch.split(labels, batch_size), strict=True)
    batches = ((some.to(device), targets.to(device)) for some, targets in pairs)
    return evaluate_batches(model, batches, loss=loss, precision=precision)


def evaluate_batches(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    loss: Loss | None = None,
    precision: Precision | None = None,
    world: World = ALONE,
) -> Scores:
    """Measure a model on a split.

    Generators and the training mode of every module are as before when it returns. `no_grad` and not
    `inference_mode`, because a model may cache what it computes (position tables), and a cached inference tensor
    could not take part in the next step's graph.

    Args:
        model: The model.
        batches: Images float32 [n, c, h, w] and labels int64 [n] on the model's device, at least one of each.
        loss: The training's; None: softmax cross-entropy.
        precision: The training's; None: float32.
        world: The processes that have some of the batches each; all get the scores of all batches.
    """
    loss, precision = loss or Loss(), precision or Precision()
    modes = {module: module.training for module in model.modules()}
    total = torch.zeros((), dtype=torch.float64)
    right, count = 0, 0
    with preserved_rng(), torch.no_grad():
        try:
            model.eval()
            for images, labels in batches:
                with precision.autocast():
                    outputs = model(images)
                    some_loss = loss.total(outputs, loss.targets(labels, outputs.shape[1]))
                total += some_loss.cpu().double()
                right += int(correct(outputs, labels).sum())
                count += len(labels)
        finally:
            for module, mode in modes.items():
                module.training = mode
    all_total, all_right, all_count = world.totals([total.item(), right, count])
    return Scores(loss=all_total / all_count, accuracy=all_right / all_count)
