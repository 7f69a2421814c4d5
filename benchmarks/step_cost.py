"""Step time of the optimizers as a ratio to AdamW's: whole training steps, side by side in one process, one thread.

Every round gives each optimizer one step on the same batch, so that a drift of the machine falls on all alike. Per
optimizer: the median over rounds of the ratio to AdamW's step in the same round, the ratio of the mean step times
(amortised: rare inversions count), the slowest step after warm-up as a multiple of the median one, and the optimizer's
state in bytes a parameter. `--parts` gives the mean time of every part as a share of AdamW's step.

    python benchmarks/step_cost.py --rounds 100
    python benchmarks/step_cost.py --workloads test_vit --optimizers 'adamw,ring,kfac[inverse_interval=100],timm:muon'
    python benchmarks/step_cost.py --parts --optimizers adamw,kfac,ring
    python benchmarks/step_cost.py --growth --optimizers adamw,ring
    python benchmarks/step_cost.py --rounds 100 --markdown docs/results/step-cost.md
    python benchmarks/step_cost.py --rounds 100 --json runs/step-cost.json --optimizers adamw,ring
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from parts import PARTS, Parts, measured
from peers import make_peer
from torch import Tensor, nn
from torch.nn import functional as F
from workloads import WORKLOADS, Perceptron

from grng import __version__
from grng.experiments.specs import parse_specs
from grng.optimizers import create_optimizer

OPTIMIZERS = (
    "adamw,sgd,kfac,kfac[curvature_interval=10,inverse_interval=100],ring,"
    "ring[curvature_interval=10,inverse_interval=100,curvature_batch=1.0],reng,r-kalman,sophia-g,sophia-h"
)
Data = Callable[[], tuple[Tensor, Tensor]]


def make_optimizer(label: str, model: nn.Module) -> Any:
    """Make one of ours or timm's by its spec, or a peer."""
    if label.startswith("peer:"):
        return make_peer(label, model)
    (spec,) = parse_specs(label)
    return create_optimizer(spec.name, model, **spec.hyperparameters)


def step_seconds(model: nn.Module, optimizer: Any, images: Tensor, labels: Tensor, parts: Parts | None = None) -> float:
    """Take one whole training step and return its wall-clock seconds."""
    part: Callable[[str], Any] = parts.part if parts is not None else lambda name: nullcontext()

    def closure() -> float:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return float(loss.detach())

    started = time.perf_counter()
    with part("forward"):
        outputs = model(images)
        loss = F.cross_entropy(outputs, labels)
    with part("observe"):
        optimizer.observe(outputs, labels)
    with part("backward"):
        loss.backward(create_graph=optimizer.is_second_order)
    with part("update"):
        optimizer.step(closure if optimizer.needs_closure else None)
        optimizer.zero_grad()
    return time.perf_counter() - started


def state_bytes(optimizer: Any) -> int:
    """Return the bytes of all tensors in the optimizer's state."""
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Race:
    """One model for every optimizer, and their steps in turn.

    Args:
        make: Makes the model.
        labels: The optimizers; `adamw` is the reference.
        data: Draws a batch.
    """

    def __init__(self, make: Callable[[], nn.Module], labels: list[str], data: Data) -> None:
        self.models = {label: make() for label in labels}
        self.optimizers = {label: make_optimizer(label, model) for label, model in self.models.items()}
        self.data = data
        self.seconds: dict[str, list[float]] = {label: [] for label in labels}
        self.parts = {label: Parts() for label in labels}

    def run(self, *, rounds: int, warmup: int, by_part: bool = False) -> None:
        """Do `warmup` rounds that do not count, and `rounds` that do."""
        gc.disable()
        for number in range(warmup + rounds):
            images, targets = self.data()
            for label, model in self.models.items():
                counted = number >= warmup
                parts = self.parts[label] if by_part and counted else None
                with measured(parts) if parts is not None else nullcontext():
                    spent = step_seconds(model, self.optimizers[label], images, targets, parts)
                if counted:
                    self.seconds[label].append(spent)
            gc.collect()
        gc.enable()

    def median_ratio(self, label: str) -> float:
        """Return the median over rounds of the ratio to AdamW's step in the same round."""
        pairs = zip(self.seconds[label], self.seconds["adamw"], strict=True)
        return statistics.median(own / reference for own, reference in pairs)

    def amortised_ratio(self, label: str) -> float:
        """Return the ratio of the mean step times."""
        return statistics.mean(self.seconds[label]) / statistics.mean(self.seconds["adamw"])

    def cells(self, label: str) -> list[str]:
        """Return one row of the table."""
        own = self.seconds[label]
        parameters = sum(p.numel() for p in self.models[label].parameters())
        return [
            label,
            f"{self.median_ratio(label):.2f}",
            f"{self.amortised_ratio(label):.2f}",
            f"{max(own) / statistics.median(own):.1f}",
            f"{1e3 * statistics.median(own):.1f}",
            f"{state_bytes(self.optimizers[label]) / parameters:.0f}",
        ]

    def part_cells(self, label: str) -> list[str]:
        """Return every part's mean as a share of AdamW's mean step."""
        reference = statistics.mean(self.seconds["adamw"]) * len(self.seconds[label])
        return [label, *(f"{self.parts[label].seconds[name] / reference:.2f}" for name in PARTS)]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table's lines."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def cost_tables(arguments: argparse.Namespace, labels: list[str]) -> list[str]:
    """Race on every workload."""
    rows, part_rows, batches = [], [], []
    ratios: dict[str, dict[str, float]] = {}
    for name in arguments.workloads.split(","):
        work = WORKLOADS[name]
        generator = torch.Generator().manual_seed(0)
        race = Race(work.make, labels, partial(work.data, generator))
        race.run(rounds=arguments.rounds, warmup=arguments.warmup, by_part=arguments.parts)
        rows += [[name, *race.cells(label)] for label in labels]
        ratios[name] = {label: race.amortised_ratio(label) for label in labels}
        part_rows += [[name, *race.part_cells(label)] for label in labels]
        batches.append(f"{name} {work.size} px, batch {work.batch}")
    head = [
        "model",
        "optimizer",
        "median ratio",
        "amortised ratio",
        "slowest / median",
        "median ms",
        "state B / parameter",
    ]
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(ratios, indent=1), encoding="utf-8")
    lines = [*table(head, rows), ""]
    if arguments.parts:
        lines += ["Parts, mean over all steps as a share of AdamW's step:", ""]
        lines += [*table(["model", "optimizer", *PARTS], part_rows), ""]
    return [*lines, f"{arguments.rounds} rounds; {'; '.join(batches)}."]


def growth_table(arguments: argparse.Namespace, labels: list[str]) -> list[str]:
    """Race on perceptrons whose width, depth and batch grow one at a time."""
    cases = [(width, 4, 128) for width in (64, 128, 256, 512, 1024)]
    cases += [(256, depth, 128) for depth in (2, 8, 16)] + [(256, 4, batch) for batch in (32, 512)]
    rows = []
    for width, depth, batch in cases:
        generator = torch.Generator().manual_seed(0)
        race = Race(partial(Perceptron, width, depth), labels, partial(_vectors, batch, width, generator))
        race.run(rounds=arguments.rounds, warmup=arguments.warmup)
        rows.append([str(width), str(depth), str(batch), *(f"{race.amortised_ratio(label):.2f}" for label in labels)])
    return [*table(["width", "depth", "batch", *labels], rows), "", f"Amortised ratios, {arguments.rounds} rounds."]


def _vectors(batch: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(batch, width, generator=generator)
    return inputs, torch.randint(0, 10, (batch,), generator=generator)


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default="test_resnet,test_vit", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--optimizers", default=OPTIMIZERS, help="as in grng compare, and peer:NAME; must hold adamw")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=11, help="rounds before counting; past the first inversions")
    parser.add_argument("--parts", action="store_true", help="also where the time goes")
    parser.add_argument("--growth", action="store_true", help="perceptrons of growing width, depth and batch instead")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--json", type=Path, help="amortised ratios by model and optimizer, for time_to_accuracy.py")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    labels = [spec.label for spec in parse_specs(arguments.optimizers)]
    lines = growth_table(arguments, labels) if arguments.growth else cost_tables(arguments, labels)
    lines.append(
        f"One thread, {platform.machine()}, torch {torch.__version__}, timm {timm.__version__}, grng {__version__}."
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
