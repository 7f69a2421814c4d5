"""The processes that train one run together: who they are, what they agree on, and which of them writes.

They are started by torchrun, or by `grng.experiments.pool.launch`, which sets the same variables; gloo carries what is
on the CPU, NCCL what is on GPUs. The first of them, the leader, holds the claim on the run directory, writes all files
and has the listeners; the others do the same steps and say nothing.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from grng.errors import GrngError
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.launched import Place, launched
from grng.training.device import resolve_device
from grng.training.errors import ProcessLost
from grng.training.failures import failure_reason, one_line

T = TypeVar("T")

TIMEOUT = timedelta(hours=2)
"""How long a process waits for the others: longer than an evaluation or a checkpoint of the leader's takes."""

# torch 2.14 gave it another name
_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)
_PrefixStore: Any = getattr(distributed, "PrefixStore", None)  # torch exports it, and does not say so
_REPORT = "report"
_OF_THE_BACKENDS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")


class World:
    """The processes of a run; all of them must call the same methods in the same order.

    Args:
        place: Which of them this one is; None: it is alone.
        store: Where a process leaves word of why it ends; None for one that is alone.
    """

    def __init__(self, place: Place | None = None, store: Any = None) -> None:
        self._place = place or Place(0, 1, 0, 1)
        self._store = store

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        return self._place.rank

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self._place.size

    @property
    def active(self) -> bool:
        """Whether there is another process."""
        return self.size > 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and calls listeners."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Return this process's device: its own GPU of those of the machine, or the CPU.

        Raises:
            GrngError: If it cannot be had.
        """
        return resolve_device(name) if not self.active else _own_device(name, self._place)

    def gathered(self, numbers: Sequence[float]) -> list[list[float]]:
        """Return every process's numbers, in the processes' order; all give equally many."""
        if not self.active:
            return [list(numbers)]
        own = torch.tensor(list(numbers), dtype=torch.float64)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(parts, own)
        return [part.tolist() for part in parts]

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """Return the sum of every number over the processes, the same bits in each of them."""
        return [math.fsum(column) for column in zip(*self.gathered(numbers), strict=True)]

    def mean(self, value: float) -> float:
        """Return the mean of a value over the processes; one that is not finite where any of them has one."""
        if not self.active:
            return value
        values = [row[0] for row in self.gathered([value])]
        wrong = [one for one in values if not math.isfinite(one)]
        return wrong[0] if wrong else math.fsum(values) / self.size

    def highest(self, value: float) -> float:
        """Return the largest of the processes' values."""
        return max(row[0] for row in self.gathered([value]))

    def leaders(self, flag: bool) -> bool:
        """Return the leader's answer to a question."""
        return bool(self.gathered([float(flag)])[0][0])

    def part(self) -> None:
        """Wait until the leader has written all that it has to."""
        if self.active:
            with contextlib.suppress(RuntimeError):
                self.leaders(True)

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the leader's values, in place."""
        if not self.active:
            return
        with torch.no_grad():
            for tensor in tensors:
                sent = tensor.detach().clone(memory_format=torch.contiguous_format)
                distributed.broadcast(sent, src=0)
                tensor.copy_(sent)

    def together(self, action: Callable[[], T]) -> T:
        """Do something in every process; where it fails in one, all of them raise.

        Raises:
            Exception: What this process's own action raised; in the others `GrngError`, `MemoryError` or `RuntimeError`
                with the first failing process's message.
        """
        if not self.active:
            return action()
        own: Exception | None = None
        result: T | None = None
        try:
            result = action()
        except Exception as error:
            own = error
        reports = self._texts("" if own is None else _report(self.rank, own))
        if own is not None:
            raise own
        failed = next((text for text in reports if text), None)
        if failed is not None:
            raise _reported(failed)
        return cast(T, result)

    def leave_word(self, error: Exception) -> None:
        """Say, for those who lose this process, why it ends."""
        if self._store is not None and not _of_a_backend(error):
            with contextlib.suppress(Exception):
                self._store.set(_REPORT, _report(self.rank, error))

    def cause(self, error: Exception, directory: Path) -> Exception:
        """Return what is behind an error: another process's, where this one only lost it."""
        if self._store is None or not _of_a_backend(error):
            return error
        with contextlib.suppress(Exception):
            if self._store.check([_REPORT]):
                return _reported(self._store.get(_REPORT).decode())
        return ProcessLost(
            "another process of this run ended without a word.",
            where=str(directory),
            hint="The same command goes on from the last checkpoint.",
        )

    def parallel(self, model: nn.Module, device: torch.device, *, unused: bool) -> nn.Module:
        """Return the model as the steps call it: wrapped so that gradients are averaged over the processes.

        Args:
            model: The model, or what torch.compile made of it.
            device: Its device.
            unused: Whether there are parameters that the loss does not reach.
        """
        if not self.active:
            return model
        devices = [device] if device.type == "cuda" else None
        unused = self.highest(float(unused)) > 0
        # Buffers are the leader's where they matter, in evaluation and in checkpoints (`Session`).
        named: dict[str, Any] = {_BUFFERS: False, "find_unused_parameters": unused}
        return DistributedDataParallel(model, device_ids=devices, **named)

    def _texts(self, text: str) -> list[str]:
        data = text.encode()
        sizes = [int(row[0]) for row in self.gathered([len(data)])]
        padded = torch.zeros(max(1, *sizes), dtype=torch.uint8)
        padded[: len(data)] = torch.tensor(list(data), dtype=torch.uint8)
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return [bytes(part[:size].tolist()).decode() for part, size in zip(parts, sizes, strict=True)]


ALONE = World()


def unsynchronised(model: nn.Module, when: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context for a forward and its backward, in which gradients stay this process's own if `when` holds."""
    if when and isinstance(model, DistributedDataParallel):
        kept: contextlib.AbstractContextManager[Any] = model.no_sync()
        return kept
    return contextlib.nullcontext()


@contextlib.contextmanager
def joined(config: RunConfig) -> Iterator[tuple[RunConfig, World]]:
    """Meet the other processes of the run, and part from them at the block's end.

    A process group that the caller has made is used, and left.

    Args:
        config: Resolved.

    Yields:
        The config with the number of processes that there are, and the processes.

    Raises:
        GrngError: If there are not the processes that the config asks for, or the config does not go with so many.
    """
    asked, place = config.machine.processes, launched()
    size = 1 if place is None else place.size
    if asked is not None and asked != size:
        raise _other_number(asked, place)
    if place is None or size == 1:
        yield config, ALONE
        return
    config = resolve(replace(config, machine=replace(config.machine, processes=size)))
    device = _own_device(config.machine.device, place)
    if distributed.is_initialized():
        yield config, World(place)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store, _, _ = next(iter(rendezvous("env://", place.rank, place.size, timeout=TIMEOUT)))
    distributed.init_process_group(
        backend,
        store=_PrefixStore("group", store),
        rank=place.rank,
        world_size=place.size,
        timeout=TIMEOUT,
    )
    yielded = False
    try:
        yield config, World(place, _PrefixStore("run", store))
        yielded = True
    finally:
        # NCCL would wait for messages that a process which failed has left unfinished; its own end ends them.
        if yielded or device.type != "cuda":
            with contextlib.suppress(RuntimeError):
                distributed.destroy_process_group()


def _own_device(name: str, place: Place) -> torch.device:
    check_devices(name, place.local_size)
    device = resolve_device(name)
    return torch.device("cuda", place.local_rank) if device.type == "cuda" else device


def check_devices(name: str, count: int) -> None:
    """Raise a `GrngError` where `count` processes of this machine cannot each have a device of the name `name`."""
    device = resolve_device(name)
    if device.type == "mps" or (device.type == "cuda" and ":" in name):
        raise GrngError(
            f"{count} processes cannot share the device {name!r}.",
            where="machine.device",
            hint="Use cuda, of which each process takes one, or cpu.",
        )
    there = torch.cuda.device_count() if device.type == "cuda" else count
    if there < count:
        raise GrngError(
            f"{count} processes need as many GPUs, and there {'is 1' if there == 1 else f'are {there}'}.",
            where="machine.processes",
            hint=f"Use at most {there}, or --device cpu.",
        )


def _other_number(asked: int, place: Place | None) -> GrngError:
    if place is None:
        return GrngError(
            f"{asked} processes are asked for, and this is one.",
            where="machine.processes",
            hint=f"Start it by `grng train --processes {asked}`, by torchrun, or by "
            "grng.experiments.pool.launch.launch.",
        )
    return GrngError(
        f"{asked} processes are asked for, and {place.size} were started.",
        where="machine.processes",
        hint=f"Leave it out, or start {asked}.",
    )


def _of_a_backend(error: Exception) -> bool:
    """Whether an error is of the messages between the processes: another one is gone."""
    if isinstance(error, GrngError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in _OF_THE_BACKENDS)


def _report(rank: int, error: Exception) -> str:
    """Return an error as JSON."""
    if isinstance(error, GrngError) and error.exit_code == 2:
        kind, text, where, hint = "user", error.message, error.where, error.hint
    else:
        kind, text, where, hint = failure_reason(error), one_line(error), None, None
    return json.dumps({"rank": rank, "kind": kind, "text": text, "where": where, "hint": hint})


def _reported(report: str) -> Exception:
    """Return the error that `_report` was given, as far as it can be told."""
    told = json.loads(report)
    if told["kind"] == "user":
        return GrngError(told["text"], where=told["where"], hint=told["hint"])
    text = f"in process {told['rank']}: {told['text']}"
    return MemoryError(text) if told["kind"] == "oom" else RuntimeError(text)
