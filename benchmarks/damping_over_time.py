"""RING's damping λ_i = λ + ρ n_i over a run, layer by layer: how much one number ρ differs from a constant damping.

Trains with RING's defaults on the bundled digits and prints, for every layer with Kronecker factors, λ_i at some steps,
as read at the last refresh of that layer's inverses, and beside it the ratio of its largest to its smallest value.

    python benchmarks/damping_over_time.py --markdown docs/results/damping.md
    python benchmarks/damping_over_time.py --models test_convnext --epochs 10
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from grng import __version__
from grng.data import load
from grng.models import create_model
from grng.optim.ring import RING

BATCH = 128
MOMENTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the run


def dampings(name: str, epochs: int, seed: int) -> tuple[list[int], dict[str, list[float]]]:
    """Train, and return the steps that were looked at and, by layer, λ_i at each of them."""
    data = load("mnist5k")
    torch.manual_seed(seed)
    model: nn.Module = create_model(
        name, channels=data.channels, num_classes=data.num_classes, img_size=data.img_size
    ).train()
    optimizer = RING(model, seed=seed)
    steps = epochs * (len(data.train) // BATCH)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    looked_at = sorted({max(1, round(moment * steps)) for moment in MOMENTS})
    names = {p: n.removesuffix(".weight") for n, p in model.named_parameters()}
    found: dict[str, list[float]] = {}
    for step in range(1, steps + 1):
        if (step - 1) % (len(data.train) // BATCH) == 0:
            order = torch.randperm(len(data.train))
        start = (step - 1) % (len(data.train) // BATCH) * BATCH
        chosen = order[start : start + BATCH]
        outputs, labels = model(data.train.images[chosen]), data.train.labels[chosen]
        optimizer.observe(outputs, labels)
        F.cross_entropy(outputs, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        if step in looked_at:
            for p, layer in names.items():
                if "A" in optimizer.state[p]:
                    found.setdefault(layer, []).append(float(optimizer.state[p]["damping"]))
    return looked_at, found


def table(name: str, epochs: int, seed: int) -> list[str]:
    """Return one model's table."""
    steps, found = dampings(name, epochs, seed)
    head = ["layer", *(f"step {step}" for step in steps), "largest / smallest"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head))]
    for layer, values in found.items():
        cells = [*(f"{value:.1e}" for value in values), f"{max(values) / min(values):.0f}"]
        lines.append("| " + " | ".join([f"`{layer}`", *cells]) + " |")
    spreads = [max(column) / min(column) for column in zip(*found.values(), strict=True)]
    cells = [*(f"{spread:.0f}" for spread in spreads), ""]
    lines.append("| " + " | ".join(["largest / smallest of the layers", *cells]) + " |")
    return lines


def main() -> None:
    """Train and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="test_vit,test_resnet")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for name in arguments.models.split(","):
        lines += [f"## {name}", "", *table(name, arguments.epochs, arguments.seed), ""]
    lines.append(
        f"λ_i of RING at its defaults, {arguments.epochs} epochs of mnist5k, batch {BATCH}, seed {arguments.seed}. "
        f"{platform.machine()}, torch {torch.__version__}, grng {__version__}."
    )
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.markdown:
        title = "# RING's damping over a run\n\n"
        title += "Made by `python benchmarks/damping_over_time.py`; what is measured stands there.\n\n"
        arguments.markdown.write_text(title + text, encoding="utf-8")


if __name__ == "__main__":
    main()
