"""What the benchmarks train: a timm model on one-channel or colour images, of a size, in batches of a size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Workload:
    """A model with its image size and batch size."""

    model: str
    size: int = 32
    batch: int = 128
    kwargs: dict[str, Any] = field(default_factory=dict)

    def make(self) -> nn.Module:
        """Make the model, the same weights every time."""
        torch.manual_seed(0)
        model: nn.Module = timm.create_model(self.model, in_chans=1, num_classes=10, **self.kwargs)
        return model

    def data(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch: images `[batch, 1, size, size]`, labels `[batch]`."""
        images = torch.randn(self.batch, 1, self.size, self.size, generator=generator)
        return images, torch.randint(0, 10, (self.batch,), generator=generator)


WORKLOADS = {
    "test_resnet": Workload("test_resnet"),
    "test_vit": Workload("test_vit", kwargs={"img_size": 32}),
    "test_efficientnet": Workload("test_efficientnet"),
    "test_convnext": Workload("test_convnext"),
    "resnet18": Workload("resnet18", batch=64),
    "vit_tiny": Workload("vit_tiny_patch16_224", batch=64, kwargs={"img_size": 32, "patch_size": 8}),
}


class Perceptron(nn.Module):
    """Equal Linear layers with GELU between, for the growth with width, depth and batch."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[batch, 10]` for `[batch, width]`."""
        for layer in self.layers:
            x = nn.functional.gelu(layer(x))
        out: Tensor = self.head(x)
        return out
