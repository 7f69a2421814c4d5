"""The processes that train one model together, and what an optimizer has to exchange between them.

Under DistributedDataParallel every process sees a part of the batch, and DDP averages the gradients. What an optimizer
measures besides must be that of the joined batch too: sums over samples are added up (`summed`, `totals`), what is
drawn at random is drawn for the joined batch by every process, which then takes its own part (`share`), and where DDP
cannot average (a backward with `create_graph=True`) the optimizer does (`average_gradients`).

Everything is decided when it is used, since a process group is often made after the optimizer; with one process
nothing is sent, and nothing computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.graph import GradientEdge
from torch.nn.parallel import DistributedDataParallel

from grng.errors import GrngError

AT_STEP = -1  # what a process at its step sends where the others send a number of samples
BUCKET = 2**22  # entries sent at a time (16 MiB in float32), so that a model takes a handful of messages


class Processes:
    """The processes of one process group; all of them must call the same methods in the same order.

    Args:
        group: The process group; None for torch's default group.
        device: Where small tensors are put for sending: the parameters' device, which the group's backend must serve.
        synchronise: False for processes that train models of their own: then every process is alone.
    """

    def __init__(self, group: Any, device: torch.device, *, synchronise: bool = True) -> None:
        self._group = group
        self._device = device
        self.size = 1
        if synchronise and distributed.is_available() and distributed.is_initialized():
            self.size = max(distributed.get_world_size(group), 1)  # −1 outside of the group

    @property
    def active(self) -> bool:
        """Whether there is another process."""
        return self.size > 1

    @property
    def rank(self) -> int:
        """This process's place among them."""
        return distributed.get_rank(self._group) if self.active else 0

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return every tensor's sum over the processes; shapes and dtypes must be the same in all of them."""
        if not self.active:
            return list(tensors)
        result: list[Tensor | None] = [None] * len(tensors)
        for bucket in _buckets(tensors):
            flat = torch.cat([tensors[index].detach().reshape(-1) for index in bucket])
            distributed.all_reduce(flat, group=self._group)
            parts = flat.split([tensors[index].numel() for index in bucket])
            for index, part in zip(bucket, parts, strict=True):
                like = tensors[index]
                whole = part.reshape(like.shape)
                # a gradient keeps the memory format of its parameter (channels last)
                result[index] = whole if like.is_contiguous() else torch.empty_like(like).copy_(whole)
        return [tensor for tensor in result if tensor is not None]

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return every tensor's mean over the processes."""
        return [tensor / self.size for tensor in self.summed(tensors)] if self.active else list(tensors)

    def totals(self, values: Sequence[float]) -> list[float]:
        """Return the sum of every number over the processes, in float64: counts stay exact."""
        if not self.active or not values:
            return list(values)
        found: list[float] = self.summed([torch.tensor(values, dtype=torch.float64, device=self._device)])[0].tolist()
        return found

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Return for every flag whether it holds in any process."""
        return [total > 0 for total in self.totals([float(flag) for flag in flags])]

    def gathered(self, values: Sequence[int]) -> list[list[int]]:
        """Return the values of every process, in the processes' order; all must give equally many."""
        if not self.active:
            return [list(values)]
        table = torch.zeros(self.size, len(values), dtype=torch.int64, device=self._device)
        table[self.rank] = torch.tensor(values, dtype=torch.int64)
        found: list[list[int]] = self.summed([table])[0].tolist()
        return found

    def share(self, samples: int) -> tuple[int, slice]:
        """Return the size of a joined batch to which this process gives `samples` samples, and where they stand in it.

        The joined batch is that of the processes in their order; they may give differently many.

        Raises:
            GrngError: Another process is already at its step (`begin_step`).
        """
        if not self.active:
            return samples, slice(0, samples)
        sizes = [row[0] for row in self.gathered([samples])]
        if AT_STEP in sizes:
            raise unequal_observations()
        start = sum(sizes[: self.rank])
        return sum(sizes), slice(start, start + samples)

    def begin_step(self) -> None:
        """Raise in every process where another one still observes, and waits in `share` for one more micro-batch."""
        if self.active and any(row[0] != AT_STEP for row in self.gathered([AT_STEP])):
            raise unequal_observations()

    def stacked(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return `[joined samples, ...]` for tensors `[samples, ...]`, which must all have the same first size."""
        if not self.active or not parts:
            return list(parts)
        total, own = self.share(parts[0].shape[0])
        joined = [part.new_zeros(total, *part.shape[1:]) for part in parts]
        for whole, part in zip(joined, parts, strict=True):
            whole[own] = part
        return self.summed(joined)

    def broadcast(self, tensors: Sequence[Tensor], source: int) -> None:
        """Give every process the values that process `source` has in contiguous tensors, in place."""
        if not self.active:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensors[index].reshape(-1) for index in bucket])
            distributed.broadcast(flat, group=self._group, group_src=source)
            if self.rank != source:
                for index, part in zip(bucket, flat.split([tensors[index].numel() for index in bucket]), strict=True):
                    tensors[index].copy_(part.view_as(tensors[index]))

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every `.grad` its mean over the processes; the graph of the process's own gradient is kept behind it.

        A parameter that only other processes used gets their mean, without a graph.
        """
        if not self.active:
            return
        used = self.any_of([p.grad is not None for p in parameters])
        held = [p for p, flag in zip(parameters, used, strict=True) if flag]
        means = self.averaged([torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in held])
        for p, mean in zip(held, means, strict=True):
            with torch.enable_grad():
                p.grad = mean if p.grad is None else _ValueOf.apply(p.grad, mean)


class _ValueOf(torch.autograd.Function):
    """The second argument's value with the first one's graph."""

    @staticmethod
    def forward(ctx: Any, graph: Tensor, value: Tensor) -> Tensor:
        """Return `value`."""
        return value.clone()  # itself it would be a view to autograd, and could not be clipped in place

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None]:
        """Hand the cotangent to `graph`."""
        return cotangents[0], None


def unequal_observations() -> GrngError:
    """Return what is wrong where the processes had differently many micro-batches."""
    return GrngError(
        "observe was called differently often in the processes that train this model.",
        where="step",
        hint="Give every process the same number of micro-batches a step; their sizes may differ.",
    )


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Group indices of tensors of one dtype and device, in order, up to `BUCKET` entries or one larger tensor each."""
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for index, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(index)
    for indices in kinds.values():
        bucket: list[int] = []
        entries = 0
        for index in indices:
            if bucket and entries + tensors[index].numel() > BUCKET:
                yield bucket
                bucket, entries = [], 0
            bucket.append(index)
            entries += tensors[index].numel()
        yield bucket


def behind_ddp(outputs: Tensor) -> Any:
    """Return what a backward of our own has to start from: the outputs, or the edge behind DDP's own node at the end.

    With `static_graph` that node takes the first backward that passes it for the whole of the first step's, and DDP
    then never averages any gradient again.
    """
    node = outputs.grad_fn
    if node is None or type(node).__name__ != "_DDPSinkBackward":
        return outputs
    source, number = node.next_functions[outputs.output_nr]
    return outputs if source is None else GradientEdge(source, number)


def require_no_sync(module: nn.Module) -> None:
    """Raise where a forward whose backward needs `create_graph=True` runs under DDP and outside of `no_sync`.

    Args:
        module: The model or the DDP wrapper around it, at the begin of its forward.

    Raises:
        GrngError: DDP would stop in the backward, with "a leaf Variable that requires grad is being used in an
            in-place operation"; or it has `static_graph` and has not seen a step yet, which it must see whole.
    """
    wrapper: Any = module
    if not isinstance(module, DistributedDataParallel):
        wrapper = getattr(DistributedDataParallel, "_active_ddp_module", None)
    if wrapper is None or not module.training or not torch.is_grad_enabled():
        return
    if wrapper.require_backward_grad_sync:
        raise GrngError(
            "DistributedDataParallel cannot average the gradients of a step that forms a Hessian-vector product.",
            where="forward",
            hint="Put forward and backward under ddp.no_sync() while optimizer.is_second_order holds; the optimizer "
            "averages over the processes itself.",
        )
    if wrapper.static_graph and not getattr(wrapper, "_static_graph_delay_allreduce_enqueued", True):
        raise GrngError(
            "DistributedDataParallel with static_graph=True must see its first step outside of no_sync, and this one "
            "forms a Hessian-vector product.",
            where="forward",
            hint="Leave out static_graph, or set rho_warmup_steps.",
        )
