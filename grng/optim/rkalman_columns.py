"""Rows of gradients read in pieces of columns, for R-Kalman's filter over all weights.

The rows are by far the largest numbers of a step (r a weight). What is made of them is made piece by piece in one and
the same small memory: another tensor of the rows' size would cost more to get than to compute. The rows of small
parameters are put side by side first, since their calls would cost more than their arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grng.curvature.row_gradients import RowGradients
from grng.curvature.scratch import Scratch

PIECE = 2**13  # columns at a time
SMALL = 2**12  # entries up to which parameters are put side by side


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows H of some parameters as one matrix `[rows, entries]`, and their variances P `[entries]`."""

    parameters: tuple[nn.Parameter, ...]
    rows: Tensor
    variances: Tensor

    def pieces(self, scratch: Scratch, *, extra: int = 0) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield, piece by piece, which columns, their rows, and memory for as many rows and `extra` more."""
        rows, entries = self.rows.shape
        shape = (rows + extra, min(entries, PIECE))
        memory = scratch.take(("piece", shape), shape, self.rows)
        if entries <= PIECE:
            yield slice(0, entries), self.rows, memory
            return
        for start in range(0, entries, PIECE):
            piece = slice(start, min(start + PIECE, entries))
            part = self.rows[:, piece]
            yield piece, part, memory[:, : part.shape[1]]

    def split(self, values: Tensor) -> dict[nn.Parameter, Tensor]:
        """Return `[entries]` by parameter, in the parameters' shapes."""
        if len(self.parameters) == 1:
            return {p: values.reshape(p.shape) for p in self.parameters}
        parts = values.split([p.numel() for p in self.parameters])
        return {p: part.reshape(p.shape) for p, part in zip(self.parameters, parts, strict=True)}


def columns_of(rows: RowGradients, covariance: dict[nn.Parameter, Tensor]) -> list[Columns]:
    """Arrange rows `[rows, *shape]` and variances (an entry's own, or the tensor's one) by parameter."""
    found: list[Columns] = []
    small: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for p, own in rows.items():
        if p.numel() < SMALL:
            small.setdefault((own.dtype, own.device), []).append(p)
        else:
            found.append(Columns((p,), own.reshape(len(own), -1), _variances(p, covariance)))
    for members in small.values():
        # a scalar parameter has rows of one entry
        matrix = torch.cat([rows[p].reshape(len(rows[p]), -1) for p in members], dim=1)
        found.append(Columns(tuple(members), matrix, torch.cat([_variances(p, covariance) for p in members])))
    return found


def _variances(p: nn.Parameter, covariance: dict[nn.Parameter, Tensor]) -> Tensor:
    return covariance[p].expand(p.shape).reshape(-1)


def spread(every: Sequence[Columns], scratch: Scratch, *, like: Tensor) -> Tensor:
    """Return H P Hᵀ, `[rows, rows]`, in the dtype of `like`; added up in it, too."""
    total = like.new_zeros(len(like), len(like))
    for columns in every:
        deviations = columns.variances.sqrt()
        own = columns.rows.new_zeros(len(like), len(like))
        for piece, part, memory in columns.pieces(scratch):
            scaled = torch.mul(part, deviations[piece], out=memory)
            own.addmm_(scaled, scaled.mT)
        total = total.to(own.device) + own.to(total.dtype)
    return total


def weighted_sums(
    columns: Columns, weights: Tensor, scratch: Scratch, *, rotation: Tensor | None = None, scales: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return Σ_j w_j H_j and, where it is asked for, a weighted sum of squares; one reading of the rows for both.

    Args:
        columns: H.
        weights: w, `[rows]`.
        scratch: Memory for a piece.
        rotation: M, `[rows, rows]`, for Σ_j (M H)_j ⊙ (M H)_j.
        scales: s, `[rows]`, for Σ_j s_j H_j ⊙ H_j.

    Returns:
        Both `[entries]`.
    """
    rows = columns.rows
    total = rows.new_empty(rows.shape[1])
    squares = None if rotation is None and scales is None else torch.empty_like(total)
    own = weights.to(rows)
    together = None if rotation is None else torch.cat([rotation.to(rows), own[None]])
    for piece, part, memory in columns.pieces(scratch, extra=1):
        if together is None:
            torch.mv(part.mT, own, out=total[piece])
        else:
            products = torch.mm(together, part, out=memory)
            total[piece] = products[-1]
        if squares is None:
            continue
        if together is not None:
            torch.sum(memory[:-1].square_(), dim=0, out=squares[piece])
        elif scales is not None:
            torch.mv(torch.square(part, out=memory[:-1]).mT, scales.to(rows), out=squares[piece])
    return total, squares
