"""What the processes measured for one step, added up to the statistics of the joined batch.

Everything measured is a sum over samples with a count beside it, so that batches of unequal size add up exactly. A
layer or parameter that a process did not use gives zeros; one that none used is not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from grng.curvature.layers import FactorSum, Layer
from grng.curvature.precision import wide_dtype
from grng.optim.fisher import DiagonalSum

if TYPE_CHECKING:
    from grng.optim.gather import Statistics
    from grng.optim.processes import Processes


def join_statistics(
    processes: Processes,
    statistics: Statistics,
    *,
    layers: Sequence[Layer],
    diagonal: Sequence[nn.Parameter],
    weight_sharing: str,
) -> None:
    """Make `statistics` those of the joined batch (all but the squared gradients, which need this step's eigenbases).

    Args:
        processes: The processes.
        statistics: What this process measured; changed in place.
        layers: The layers with Kronecker factors, in the same order in every process.
        diagonal: The parameters with a diagonal Fisher, likewise.
        weight_sharing: `expand` or `reduce`.
    """
    if not processes.active:
        return
    join_factors(processes, statistics.factors, layers, weight_sharing)
    if diagonal:
        join_diagonals(processes, statistics.diagonal, diagonal)
        statistics.samples = round(processes.totals([statistics.samples])[0])


def join_factors(
    processes: Processes, sums: dict[str, FactorSum], layers: Sequence[Layer], weight_sharing: str
) -> None:
    """Add up A's and G's sums and counts."""
    held = [sums.get(layer.name) or FactorSum(layer, weight_sharing) for layer in layers]
    counts = iter(processes.totals([count for one in held for count in one.counts()]))
    complete: list[FactorSum] = []
    for one in held:
        samples, rows, with_inputs, with_gradients = (round(next(counts)) for _ in range(4))
        if with_inputs and with_gradients:  # the others have no factors of this step in any process
            one.fill(samples=samples, input_rows=rows)
            complete.append(one)
            sums[one.layer.name] = one
    joined = iter(processes.summed([tensor for one in complete for tensor in one.sums()]))
    for one in complete:
        one.replace(next(joined), next(joined))


def join_diagonals(
    processes: Processes, sums: dict[nn.Parameter, DiagonalSum], parameters: Sequence[nn.Parameter]
) -> None:
    """Add up Σ_b J_bᵀ u_b of `parameters`, which are in the same order in every process."""
    if not processes.active:
        return
    own = [one.total if (one := sums.get(p)) is not None else None for p in parameters]
    used = processes.any_of([total is not None for total in own])
    held = [(p, total) for p, total, flag in zip(parameters, own, used, strict=True) if flag]
    joined = processes.summed(
        [torch.zeros_like(p, dtype=wide_dtype(p)) if total is None else total.to(wide_dtype(p)) for p, total in held]
    )
    for (p, _), total in zip(held, joined, strict=True):
        sums.setdefault(p, DiagonalSum()).total = total
