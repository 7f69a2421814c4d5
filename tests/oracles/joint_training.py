"""One training loop for one process and for several: what two of them must have in common with one on the joined batch."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from grng.optimizers import create_optimizer
from tests.oracles.nets import Batch, SmallAttention, SmallCNN, class_batch, mlp

WORLD = 2


class Branch(nn.Module):
    """`extra` is used where the first entry of the first sample is positive, `idle` never, `direct` without being called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.extra, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.direct = nn.Linear(6, 6)
        self.shift, self.idle = nn.Parameter(torch.zeros(6)), nn.Linear(3, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).tanh()
        if x[0, 0] > 0:
            hidden = hidden + self.extra(hidden).tanh() + self.shift.exp()
        out: Tensor = self.head(F.linear(hidden, self.direct.weight, self.direct.bias).tanh())
        return out


NETS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "mlp": (mlp, {}),
    "cnn": (SmallCNN, {"features": (2, 9, 8), "classes": 3}),
    "attention": (SmallAttention, {"features": (5, 4), "classes": 3}),
    "branch": (Branch, {}),
}


@dataclass(frozen=True)
class Case:
    """An optimizer on a net: how the batches are dealt out, and how the net is wrapped."""

    optimizer: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    net: str = "cnn"
    sizes: tuple[tuple[int, ...], ...] = ((4, 4),)  # for every micro-batch the samples of every process
    ddp: dict[str, Any] = field(default_factory=dict)
    given: str = "module"  # to the optimizer: the module or the wrapper around it
    steps: int = 3
    joined: bool = True  # False: the one process takes the processes' parts as micro-batches

    def batches(self, step: int) -> list[list[Batch]]:
        """The micro-batches of a step, each as the parts of the processes."""
        counts = [count for micro in self.sizes for count in micro]
        inputs, targets = class_batch(batch=sum(counts), seed=step, **NETS[self.net][1])
        if self.net == "branch":
            starts = [sum(counts[:index]) for index in range(len(counts))]
            inputs[starts, ..., 0] = torch.tensor([1.0 - 2.0 * (index % 2) for index in range(len(counts))]).double()
        parts = list(zip(inputs.split(counts), targets.split(counts), strict=True))
        return [parts[index : index + WORLD] for index in range(0, len(parts), WORLD)]

    def dealt(self, step: int, rank: int | None) -> list[Batch]:
        """The micro-batches of one process; None for the single process that has them all."""
        micro = self.batches(step)
        if rank is not None:
            return [parts[rank] for parts in micro]
        if not self.joined:
            return [part for parts in micro for part in parts]
        return [(torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])) for parts in micro]


def train(case: Case, rank: int | None) -> dict[str, Any]:
    """Train one process's copy; return its parameters, gradients, the optimizer's state and diagnostics."""
    module = NETS[case.net][0]()
    wrapper = None if rank is None else DistributedDataParallel(module, **case.ddp)
    model = module if wrapper is None else wrapper
    optimizer: Any = create_optimizer(
        case.optimizer, model if case.given == "wrapper" else module, seed=3, **case.hyperparameters
    )
    for step in range(case.steps):
        optimizer.zero_grad()
        optimizer.collect_diagnostics = step == case.steps - 1
        take_joint_step(model, wrapper, optimizer, case.dealt(step, rank), sum(map(sum, case.sizes)))
    return {
        "parameters": {name: p.detach() for name, p in module.named_parameters()},
        "gradients": {name: p.grad for name, p in module.named_parameters() if p.grad is not None},
        "state": optimizer.state_dict(),
        "diagnostics": optimizer.diagnostics(),
    }


def take_joint_step(
    model: nn.Module, wrapper: DistributedDataParallel | None, optimizer: Any, parts: Sequence[Batch], samples: int
) -> None:
    """One step as docs/own-loop.md has it; `samples` is the size of the joined batch."""

    def backward(index: int, *, observed: bool) -> None:
        inputs, targets = parts[index]
        second_order = observed and optimizer.is_second_order
        quiet: AbstractContextManager[None] = nullcontext()
        if wrapper is not None and (second_order or index < len(parts) - 1):
            quiet = wrapper.no_sync()
        with quiet:
            outputs = model(inputs)
            if observed:
                optimizer.observe(outputs, targets)
            world = 1 if wrapper is None else WORLD
            loss = F.cross_entropy(outputs, targets) * (len(inputs) * world / samples)
            loss.backward(create_graph=second_order)

    def closure() -> float:
        for index in range(len(parts)):
            backward(index, observed=False)
        return 0.0

    for index in range(len(parts)):
        backward(index, observed=True)
    optimizer.step(closure if optimizer.needs_closure else None)


@contextmanager
def counted_messages() -> Iterator[list[int]]:
    """Count the entries of every message that torch's all_reduce is asked to send."""
    sent: list[int] = []
    original = distributed.all_reduce

    def counting(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        sent.append(tensor.numel())
        return original(tensor, *args, **kwargs)

    distributed.all_reduce = counting
    try:
        yield sent
    finally:
        distributed.all_reduce = original


def in_process(rank: int, directory: str, jobs: dict[str, Callable[[int], Any]]) -> None:
    """One of the processes: do every job, the first one before there is a process group; write what they returned."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph=True")
    found: dict[str, Any] = {}
    for index, (name, job) in enumerate(jobs.items()):
        if index == 1:
            distributed.init_process_group(
                "gloo",
                init_method=(Path(directory) / "meeting").as_uri(),
                rank=rank,
                world_size=WORLD,
                timeout=datetime.timedelta(seconds=60),
            )
        found[name] = job(rank)
    torch.save(found, Path(directory) / f"{rank}.pt")
    distributed.destroy_process_group()
