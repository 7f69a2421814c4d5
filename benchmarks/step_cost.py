"""Step time of the optimizers as a ratio to AdamW's: whole training steps, side by side in one process, one thread.

Every round gives each optimizer one step on the same batch, so that a drift of the machine falls on all alike. Printed
per optimizer: the median over rounds of the ratio to AdamW's step in the same round, the ratio of the mean step times
(amortised: rare inversions count), the slowest step after warm-up as a multiple of the median one, and the optimizer's
state in bytes a parameter.

    python benchmarks/step_cost.py --rounds 100
    python benchmarks/step_cost.py --models test_vit --optimizers adamw,ring,timm:muon --markdown
    docs/results/step-cost.md
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng import __version__
from grng.optimizers import create_optimizer

OPTIMIZERS = "adamw,sgd,kfac,sophia-g,sophia-h,ring,reng,r-kalman"


def make_model(name: str, size: int) -> nn.Module:
    """Make a timm model for one-channel images."""
    torch.manual_seed(0)
    sized: dict[str, Any] = {"img_size": size} if "vit" in name else {}
    model: nn.Module = timm.create_model(name, in_chans=1, num_classes=10, **sized)
    return model


def step_seconds(model: nn.Module, optimizer: Any, images: Tensor, labels: Tensor) -> float:
    """Take one whole training step and return its wall-clock seconds."""

    def closure() -> float:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return float(loss.detach())

    started = time.perf_counter()
    outputs = model(images)
    loss = F.cross_entropy(outputs, labels)
    optimizer.observe(outputs, labels)
    loss.backward(create_graph=optimizer.is_second_order)
    optimizer.step(closure if optimizer.needs_closure else None)
    optimizer.zero_grad()
    return time.perf_counter() - started


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of all tensors in the optimizer's state."""
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def measure(model_name: str, names: list[str], *, rounds: int, warmup: int, batch: int, size: int) -> list[list[str]]:
    """Return one row of cells per optimizer."""
    models = {name: make_model(model_name, size) for name in names}
    optimizers: dict[str, Any] = {name: create_optimizer(name, model) for name, model in models.items()}
    generator = torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.disable()
    for number in range(warmup + rounds):
        images = torch.randn(batch, 1, size, size, generator=generator)
        labels = torch.randint(0, 10, (batch,), generator=generator)
        for name in names:
            spent = step_seconds(models[name], optimizers[name], images, labels)
            if number >= warmup:
                seconds[name].append(spent)
        gc.collect()
    gc.enable()
    reference = seconds["adamw"]
    parameters = sum(p.numel() for p in models["adamw"].parameters())
    rows = []
    for name in names:
        own = seconds[name]
        median = statistics.median(a / b for a, b in zip(own, reference, strict=True))
        amortised = statistics.mean(own) / statistics.mean(reference)
        slowest = max(own) / statistics.median(own)
        cells = [f"{median:.2f}", f"{amortised:.2f}", f"{slowest:.1f}", f"{1e3 * statistics.median(own):.1f}"]
        rows.append([model_name, name, *cells, f"{state_bytes(optimizers[name]) / parameters:.0f}"])
    return rows


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="test_resnet,test_vit")
    parser.add_argument("--optimizers", default=OPTIMIZERS, help="must contain adamw")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=11, help="rounds before counting; past the first inversions")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.optimizers.split(",")
    head = [
        "model",
        "optimizer",
        "median ratio",
        "amortised ratio",
        "slowest / median",
        "median ms",
        "state bytes / parameter",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for model in arguments.models.split(","):
        rows = measure(
            model, names, rounds=arguments.rounds, warmup=arguments.warmup, batch=arguments.batch, size=arguments.size
        )
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines.append(
        f"\n{arguments.rounds} rounds, batch {arguments.batch}, {arguments.size} px, one thread, {platform.machine()}, "
        f"torch {torch.__version__}, timm {timm.__version__}, grng {__version__}."
    )
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        title = (
            "# Step time beside AdamW's\n\nMade by `python benchmarks/step_cost.py`, which says what is measured.\n\n"
        )
        arguments.markdown.write_text(title + text, encoding="utf-8")


if __name__ == "__main__":
    main()
