"""Rows of samples for R-Kalman: gathered over the micro-batches of a step, and the small systems that they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from grng.curvature.layers import Layer
from grng.curvature.precision import wide_dtype
from grng.curvature.row_gradients import RowGradients, row_gradients
from grng.curvature.sample_groups import SampleGroups, merge_plan
from grng.curvature.scratch import Scratch
from grng.optim.processes import Processes, unequal_observations

if TYPE_CHECKING:
    from grng.optim.rkalman import RKalman


class GatheredRows:
    """Σ_{b∈j} J_bᵀ u_b for groups j of consecutive samples, over the micro-batches of one step.

    Every micro-batch gives up to `limit` rows; `merged` adds neighbouring ones up to `limit` for the whole step, which
    are the rows of the joined batch where `limit` divides the micro-batches.

    Args:
        scratch: Memory for the rows, which are then good until the next step's are gathered.
    """

    def __init__(self, scratch: Scratch | None = None) -> None:
        self._scratch = scratch
        self.sizes: list[int] = []
        self._parts: list[tuple[int, RowGradients]] = []

    def __reduce__(self) -> tuple[object, ...]:
        return (GatheredRows, ())  # a copy has no part in the graph of the step to come

    def gather(
        self,
        optimizer: RKalman,
        outputs: Tensor,
        cotangent: Tensor,
        parameters: Sequence[nn.Parameter],
        *,
        layers: Sequence[Layer],
        limit: int,
    ) -> None:
        """Add one micro-batch.

        Args:
            optimizer: Gives the captured uses of the layers and the backward.
            outputs: The model's outputs with their graph, `[batch, outputs]`.
            cotangent: u, `[batch, outputs]`.
            parameters: The parameters whose rows are wanted.
            layers: The layers with a product rule.
            limit: Most rows.
        """
        groups = SampleGroups.split(outputs.shape[0], limit)
        rows = row_gradients(
            outputs,
            cotangent,
            parameters,
            layers=layers,
            uses=optimizer.take_uses(),
            groups=groups,
            pull=lambda inputs, u: optimizer.gradients_of_outputs(outputs, inputs, u),
            scratch=self._scratch,
            part=len(self._parts),
        )
        self.sizes += groups.sizes
        self._parts.append((len(groups.sizes), rows))

    def merged(
        self, limit: int, processes: Processes, parameters: Sequence[nn.Parameter]
    ) -> tuple[RowGradients, list[int]]:
        """Return at most `limit` rows `[rows, *shape]` by parameter, and how many samples each row sums over.

        Args:
            limit: Most rows.
            processes: Whose rows are joined: those of a micro-batch in the processes' order, then the next one's.
            parameters: The parameters whose rows are wanted.

        Raises:
            GrngError: The processes had differently many micro-batches.
        """
        if processes.active:
            return self._merged_over(processes, limit, parameters)
        lengths = merge_plan(self.sizes, limit)
        ends = list(accumulate(lengths))
        sizes = [sum(self.sizes[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
        found = {p: None for _, rows in self._parts for p in rows}
        return {p: self._joined(p, lengths) for p in found}, sizes

    def _merged_over(
        self, processes: Processes, limit: int, parameters: Sequence[nn.Parameter]
    ) -> tuple[RowGradients, list[int]]:
        sizes, own = joined_sizes(processes, self._sizes_by_part(), limit)
        lengths = merge_plan(sizes, limit)
        owners = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        totals = torch.zeros(len(lengths), dtype=torch.int64).index_add_(0, owners, torch.tensor(sizes))
        used = processes.any_of([any(p in rows for _, rows in self._parts) for p in parameters])
        held = [p for p, flag in zip(parameters, used, strict=True) if flag]
        places = owners[own].split([count for count, _ in self._parts])
        sums: list[Tensor] = []
        for p in held:
            total = torch.zeros(len(lengths), *p.shape, dtype=wide_dtype(p), device=p.device)
            for (_, rows), place in zip(self._parts, places, strict=True):
                if p in rows:
                    total.index_add_(0, place.to(p.device), rows[p])
            sums.append(total)
        return dict(zip(held, processes.summed(sums), strict=True)), totals.tolist()

    def _sizes_by_part(self) -> list[list[int]]:
        ends = list(accumulate(count for count, _ in self._parts))
        return [self.sizes[end - count : end] for end, (count, _) in zip(ends, self._parts, strict=True)]

    def _joined(self, p: nn.Parameter, lengths: Sequence[int]) -> Tensor:
        if len(self._parts) == 1:
            return self._parts[0][1][p]
        like = next(rows[p] for _, rows in self._parts if p in rows)
        # a micro-batch that did not use the parameter says nothing about it
        every = torch.cat([rows[p] if p in rows else like.new_zeros(count, *p.shape) for count, rows in self._parts])
        return torch.stack([part.sum(dim=0) for part in every.split(list(lengths))])


def joined_sizes(processes: Processes, parts: Sequence[Sequence[int]], limit: int) -> tuple[list[int], Tensor]:
    """Return the group sizes of the joined micro-batches, and where this process's groups stand among them.

    Args:
        processes: The processes.
        parts: The group sizes of this process's micro-batches, at most `limit` each.
        limit: Most groups of a micro-batch.

    Raises:
        GrngError: The processes had differently many micro-batches.
    """
    if len({count for (count,) in processes.gathered([len(parts)])}) > 1:
        raise unequal_observations()
    padded = [size for part in parts for size in [*part, *[0] * (limit - len(part))]]
    table = torch.tensor(processes.gathered(padded)).reshape(processes.size, len(parts), limit).transpose(0, 1)
    owner = torch.arange(processes.size)[None, :, None].expand_as(table)
    there = table > 0
    return table[there].tolist(), (owner[there] == processes.rank).nonzero()[:, 0]


def positive_factor(matrix: Tensor, attempts: int = 6) -> Tensor | None:
    """Return the Cholesky factor of a positive semi-definite matrix, its diagonal raised by rounding's size if need be.

    Args:
        matrix: `[n, n]`, symmetric.
        attempts: How often the diagonal is raised, tenfold each time.

    Returns:
        L with L Lᵀ = matrix, or None for a matrix that is not finite, or zero.
    """
    largest = matrix.diagonal().max()
    if not bool(torch.isfinite(matrix).all()) or not bool(largest > 0):
        return None
    jitter = 0.0
    for attempt in range(attempts):
        shifted = matrix.clone()
        shifted.diagonal().add_(jitter * largest)
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if not bool(failed):
            return factor
        jitter = torch.finfo(matrix.dtype).eps * matrix.shape[0] * 10.0**attempt
    return None
