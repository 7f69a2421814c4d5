"""What diagnostics cost: seconds of one measurement as multiples of a training step, one thread.

Each diagnostic alone, and all together, on a fixed sample of `--samples` images in chunks of `--batch`, with
`--iterations` Hessian-vector products, around steps of the optimizer; the median over `--rounds` measurements. Steps
and measurements take turns, so that a drift of the machine falls on both alike. The defaults are smaller than those of
a run (1024 samples, 20 products): the cost is in proportion to the samples, for the Hessian times the products.

    python benchmarks/diagnostics.py --rounds 3
    python benchmarks/diagnostics.py --workloads test_vit --optimizer ring --samples 4096 --iterations 50
    python benchmarks/diagnostics.py --markdown docs/results/diagnostics-cost.md
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from workloads import WORKLOADS, Workload

from grng import __version__
from grng.diagnostics.measure import Diagnostics
from grng.diagnostics.names import DIAGNOSTICS, DiagnosticName
from grng.diagnostics.sample import FixedSample
from grng.optimizers import create_optimizer


def take_step(model: nn.Module, optimizer: Any, images: Tensor, labels: Tensor) -> None:
    """Take one training step."""

    def closure() -> float:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return float(loss.detach())

    outputs = model(images)
    loss = F.cross_entropy(outputs, labels)
    optimizer.observe(outputs, labels)
    loss.backward(create_graph=optimizer.is_second_order)
    optimizer.step(closure if optimizer.needs_closure else None)
    optimizer.zero_grad()


def measure(
    work: Workload, name: str, names: list[DiagnosticName], arguments: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Return the seconds of every measurement and of every step between its halves."""
    generator = torch.Generator().manual_seed(0)
    model = work.make()
    optimizer: Any = create_optimizer(name, model)
    chunks = [work.data(generator) for _ in range(-(-arguments.samples // work.batch))]
    images, labels = (torch.cat(part)[: arguments.samples] for part in zip(*chunks, strict=True))
    sample = FixedSample(
        images,
        labels,
        batch=arguments.batch,
        batchnorm="batch",
        device=torch.device("cpu"),
        loss=F.cross_entropy,
        seed=lambda kind, index: 1000 * kind + index,
    )
    diagnostics = Diagnostics(names, sample, loss=F.cross_entropy, iterations=arguments.iterations)
    batches = [work.data(generator) for _ in range(arguments.warmup + arguments.rounds + 1)]
    spent: list[float] = []
    steps: list[float] = []
    for number in range(arguments.warmup + arguments.rounds):
        measured = number >= arguments.warmup
        times = [time.perf_counter()]
        measurement = diagnostics.before(model, partial(batches.__getitem__, number)) if measured else None
        times.append(time.perf_counter())
        take_step(model, optimizer, *batches[number])
        times.append(time.perf_counter())
        if measurement is not None:
            measurement.after(model, partial(batches.__getitem__, number + 1))
            spent.append(times[1] - times[0] + time.perf_counter() - times[2])
            steps.append(times[2] - times[1])
    return spent, steps


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default="test_resnet,test_vit", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the first measurement")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| model | diagnostic | seconds | steps |", "| --- | --- | ---: | ---: |"]
    batches = []
    for name in arguments.workloads.split(","):
        work = WORKLOADS[name]
        batches.append(f"{name} {work.size} px, batch {work.batch}")
        sets: list[tuple[str, list[DiagnosticName]]] = [(one, [one]) for one in DIAGNOSTICS]
        for title, names in [*sets, ("all", list(DIAGNOSTICS))]:
            spent, steps = measure(work, arguments.optimizer, names, arguments)
            ratio = statistics.median(spent) / statistics.median(steps)
            lines.append(f"| {name} | {title} | {statistics.median(spent):.2f} | {ratio:.1f} |")
    lines += [
        "",
        (
            f"Steps of {arguments.optimizer}; {'; '.join(batches)}. {arguments.samples} samples in chunks of "
            f"{arguments.batch}, {arguments.iterations} Hessian-vector products each; median of {arguments.rounds} "
            f"measurements. One thread, {platform.machine()}, torch {torch.__version__}, timm {timm.__version__}, "
            f"grng {__version__}."
        ),
        "",
        (
            "The cost is in proportion to the samples, for the Hessian times the products: a run's defaults (1024 "
            "samples, 20 products) cost as many times these figures. Measurements are outside of the training clock."
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        title = (
            "# What diagnostics cost\n\nMade by `python benchmarks/diagnostics.py`, which says what is measured.\n\n"
        )
        arguments.markdown.write_text(title + text, encoding="utf-8")


if __name__ == "__main__":
    main()
