"""Eigenvalue correction (EKFAC, George et al. 2018, arXiv 1806.03884): the Fisher matrix's diagonal in the eigenbases.

With U_A, U_G the eigenbases of A and G and M_b = Σ_t e_bt a_btᵀ the gradient of sample b, K-FAC takes the eigenvalues
s_G s_Aᵀ; the correction measures them, S = E[(U_Gᵀ M_b U_A)²] elementwise, which in these bases is the best diagonal
there is. The sum over the positions t at which a weight is shared stands inside the square, whatever `weight_sharing`
says of A and G: S is the second moment of the true per-sample gradient.

The bases of a step are known only when its A and G are, so inputs and output gradients are kept until then. Where the
bases change, the moving average of S is carried over: as a diagonal matrix in the old bases, of which the diagonal in
the new ones is kept. That keeps the trace, no eigenvalue turns negative, and permuted or flipped eigenvectors are no
change at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grng.curvature.capture import Use
from grng.curvature.factor_blocks import times_left, times_right
from grng.curvature.layers import Layer
from grng.curvature.precision import wide_dtype

# entries of per-sample gradients held at a time (64 MiB in float32)
CHUNK = 2**24


@dataclass(frozen=True, slots=True)
class _Pass:
    """One backward's uses of a layer with their output gradients, of the first `samples` of `batch` samples."""

    uses: tuple[tuple[Tensor, int, Tensor], ...]  # input, its version, output gradient: no node of the graph
    batch: int
    samples: int


class SquaredGradients:
    """One step's per-sample gradients of a layer, over its micro-batches, as inputs and output gradients."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.samples = 0
        self._passes: list[_Pass] = []

    def add(self, uses: Sequence[tuple[Use, Tensor]], *, batch: int, samples: int) -> None:
        """Add one backward: every use of the layer with the gradient of Σ_b u_bᵀ z_b with respect to its output."""
        kept = tuple((use.inputs, use.version, gradient.detach()) for use, gradient in uses)
        self._passes.append(_Pass(kept, batch, samples))

    def sum_square(self, vectors_a: Tensor, vectors_g: Tensor) -> Tensor | None:
        """Return Σ_b (U_Gᵀ M_b U_A)² over the samples of this batch.

        Args:
            vectors_a: U_A, `[groups, in, in]`, or its blocks.
            vectors_g: U_G, `[groups, out, out]`, or its blocks.

        Returns:
            `[groups, out, in]`; None where nothing was added, or where an input was overwritten since.
        """
        if not self._passes or any(a._version != version for one in self._passes for a, version, _ in one.uses):
            return None
        layer = self.layer
        total = vectors_a.new_zeros(layer.groups, layer.output_size, layer.input_size)
        for one in self._passes:
            parts = [self._rotated(a, gradient, one, vectors_a, vectors_g) for a, _, gradient in one.uses]
            inputs = torch.cat([part[0] for part in parts], dim=2)
            gradients = torch.cat([part[1] for part in parts], dim=2)
            add_squares(total, inputs, gradients)
        return total

    def _rotated(
        self, seen: Tensor, gradient: Tensor, one: _Pass, vectors_a: Tensor, vectors_g: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return U_Aᵀ a and U_Gᵀ e at every position, `[groups, samples, shared, features]`."""
        layer, dtype = self.layer, wide_dtype(self.layer.weight)
        inputs = layer.input_rows(seen.to(dtype), batch=one.batch, samples=one.samples)
        if layer.bias is not None:
            inputs = torch.cat([inputs, inputs.new_ones(*inputs.shape[:-1], 1)], dim=-1)
        gradients = layer.gradient_rows(gradient.to(dtype), batch=one.batch, samples=one.samples)
        return _rotate(inputs, vectors_a), _rotate(gradients, vectors_g)


def _rotate(rows: Tensor, vectors: Tensor) -> Tensor:
    """Return Uᵀ r for every row of `[groups, samples, shared, features]`."""
    flat = rows.reshape(rows.shape[0], -1, rows.shape[-1])
    return times_right(flat, vectors).reshape(rows.shape)


def add_squares(total: Tensor, inputs: Tensor, gradients: Tensor) -> None:
    """Add Σ_b (Σ_t e_bt a_btᵀ)² to `total`, in place.

    Args:
        total: `[groups, out, in]`.
        inputs: a, `[groups, samples, shared, in]`.
        gradients: e, `[groups, samples, shared, out]`.
    """
    if inputs.shape[2] == 1:  # (e_i a_j)² = e_i² a_j²: no gradient of a sample has to be formed
        total.add_(gradients[:, :, 0].square().mT @ inputs[:, :, 0].square())
        return
    step = max(1, CHUNK // total.numel())
    for a, e in zip(inputs.split(step, dim=1), gradients.split(step, dim=1), strict=True):
        total.add_((e.mT @ a).square().sum(dim=1))


def carry_over(average: Tensor, old_a: Tensor, old_g: Tensor, new_a: Tensor, new_g: Tensor) -> Tensor:
    """Return the diagonal, in new bases, of the matrix that is diagonal with `average` in the old ones.

    Args:
        average: `[groups, out, in]`.
        old_a: U_A of the old bases, `[groups, in, in]`.
        old_g: U_G of the old bases, `[groups, out, out]`.
        new_a: U_A of the new ones.
        new_g: U_G of the new ones.
    """
    return times_right(times_left((new_g.mT @ old_g).square(), average), (new_a.mT @ old_a).square().mT)
