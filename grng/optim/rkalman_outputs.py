"""`observation="outputs"`: every output of every sample, the exact form for small models and adapters.

    J = ∂z/∂θ  (B·C rows),   Σ = blockdiag_b(∂²ℓ_b/∂z_b²)   (softmax: diag μ_b − μ_b μ_bᵀ; Gaussian: I)
    Δθ = P Jᵀ (I + Σ J P Jᵀ)⁻¹ (y − μ),   P ← P − diag(P Jᵀ (I + Σ J P Jᵀ)⁻¹ Σ J P)

This is the posterior (P⁻¹ + Jᵀ Σ J)⁻¹ with its diagonal kept, without the singular noise covariance R that the softmax
has: Σ + εI in its place is 9 to 64 % off at ε = 1e-3. `update="information"`: P ← P ⊘ (1 + P ⊙ diag(Jᵀ Σ J)); the step
is that of the P before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from grng.curvature.precision import wide, wide_dtype, wide_zeros
from grng.errors import GrngError
from grng.optim.processes import Processes
from grng.optim.rkalman_filter import GlobalFilter, Tensors

if TYPE_CHECKING:
    from grng.optim.rkalman import RKalman

MOST_ROWS = 2048
MOST_ENTRIES = 2**28  # of J; 1 GiB in float32
CHUNK = 64  # rows of J a vectorised backward


class OutputsFilter(GlobalFilter):
    """Observes every output of every sample.

    Args:
        values: The optimizer's hyperparameters, defaults filled in.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.failed_solves = 0
        self.forget()

    def forget(self) -> None:
        """Forget the Jacobians."""
        self._jacobians: dict[nn.Parameter, list[Tensor | int]] = {}
        self._rows = 0  # of the micro-batches so far, in all processes
        self._residuals: list[Tensor] = []  # y − μ, `[batch, outputs]` a micro-batch
        self._fisher: list[Tensor] = []  # Σ, `[batch, outputs, outputs]` a micro-batch

    def observe(self, optimizer: RKalman, outputs: Tensor, targets: Tensor) -> None:
        """Add the Jacobian, Σ and y − μ of one micro-batch."""
        held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        self._rows += optimizer.place_in_batch(outputs.numel())[0]
        _check_size(self._rows, sum(p.numel() for p in held))
        values = wide(outputs.detach())
        # Σ u uᵀ over the likelihood's exact gradients is E[∂ℓ/∂z ∂ℓ/∂zᵀ], which is ∂²ℓ/∂z² for all of them
        factors = torch.stack(list(optimizer.likelihood.exact_gradients(values)), dim=2)
        self._fisher.append(factors @ factors.mT)
        self._residuals.append(-optimizer.likelihood.output_gradient(values, targets))
        for p, jacobian in zip(held, _jacobian(optimizer, outputs, held), strict=True):
            self._jacobians.setdefault(p, []).append(outputs.numel() if jacobian is None else jacobian)

    def steps(self, optimizer: RKalman, gradients: Tensors, covariance: Tensors) -> Tensors:
        """Return Δθ / lr, and lower P."""
        jacobians = {p: found for p in gradients if (found := _joined(p, self._jacobians.get(p, []))) is not None}
        residuals, fisher = torch.cat(self._residuals).double(), torch.cat(self._fisher).double()
        self.forget()
        jacobians = _over_processes(optimizer.processes, jacobians, list(gradients), residuals)
        residuals, fisher = optimizer.processes.stacked([residuals, fisher])
        residual = residuals.reshape(-1)
        if optimizer.collect_diagnostics:
            self.last = {"innovation": float(residual.norm()), "failed_solves": float(self.failed_solves)}
        steps = {p: wide_zeros(p) for p in gradients}
        spread = torch.zeros(len(residual), len(residual), dtype=torch.float64, device=residual.device)
        for p, jacobian in jacobians.items():
            scaled = jacobian * covariance[p].sqrt().reshape(-1)
            spread += (scaled @ scaled.mT).double()
        system = _blockwise(fisher, spread)
        system.diagonal().add_(1.0)  # I + Σ J P Jᵀ: its eigenvalues are at least 1
        if not bool(torch.isfinite(system).all() & torch.isfinite(residual).all()):
            self.failed_solves += 1
            return steps
        factors = torch.linalg.lu_factor(system)
        weights = torch.linalg.lu_solve(*factors, residual[:, None])[:, 0]
        information = torch.block_diag(*fisher)
        inner = torch.linalg.lu_solve(*factors, information) if self.update == "joint" else information
        for p, jacobian in jacobians.items():
            steps[p] = covariance[p] * (weights.to(jacobian.dtype) @ jacobian).reshape(p.shape)
            if self.update == "none":
                continue
            diagonal = (jacobian * (inner.to(jacobian.dtype) @ jacobian)).sum(dim=0).reshape(p.shape)
            if self.update == "joint":
                self.lower([covariance[p]], [covariance[p].square() * diagonal])
            else:
                self.inform([covariance[p]], [diagonal])
        return steps

    def state(self) -> dict[str, Any]:
        """Return the count of failed solves."""
        return {"failed_solves": self.failed_solves}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """Load the count of failed solves."""
        self.failed_solves = int(saved["failed_solves"])


def _check_size(rows: int, parameters: int) -> None:
    if rows > MOST_ROWS or rows * parameters > MOST_ENTRIES:
        raise GrngError(
            f"observation=outputs keeps batch × outputs = {rows} rows of {parameters} parameters; at most "
            f"{MOST_ROWS} rows and {MOST_ENTRIES} entries fit.",
            where="observe",
            hint="Choose a smaller batch, train fewer parameters, or choose observation=samples.",
        )


def _jacobian(optimizer: RKalman, outputs: Tensor, held: list[nn.Parameter]) -> list[Tensor | None]:
    """Return ∂z/∂p as `[batch · outputs, entries]` for every parameter, by vectorised backwards in chunks."""
    rows = outputs.numel()
    parts: list[list[Tensor | None]] = []
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        units = torch.zeros(count, rows, dtype=outputs.dtype, device=outputs.device)
        units[torch.arange(count), torch.arange(start, start + count)] = 1.0
        cotangents = units.reshape(count, *outputs.shape)
        parts.append(list(optimizer.gradients_of_outputs(outputs, list(held), cotangents, batched=True)))
    found: list[Tensor | None] = []
    for column in zip(*parts, strict=True):
        present = [wide(part.reshape(len(part), -1)) for part in column if part is not None]
        found.append(torch.cat(present) if present else None)
    return found


def _joined(p: nn.Parameter, parts: list[Tensor | int]) -> Tensor | None:
    """Join the micro-batches' Jacobians; an int stands for so many rows of zeros."""
    like = next((part for part in parts if isinstance(part, Tensor)), None)
    if like is None:
        return None
    return torch.cat([like.new_zeros(part, p.numel()) if isinstance(part, int) else part for part in parts])


def _over_processes(
    processes: Processes, own: Tensors, parameters: Sequence[nn.Parameter], residuals: Tensor
) -> Tensors:
    """Return the Jacobians of the joined batch, `[joined batch · outputs, entries]`."""
    if not processes.active:
        return own
    batch, outputs = residuals.shape
    used = processes.any_of([p in own for p in parameters])
    held = [p for p, flag in zip(parameters, used, strict=True) if flag]
    parts = []
    for p in held:
        rows = own[p] if p in own else p.new_zeros(batch * outputs, p.numel(), dtype=wide_dtype(p))
        parts.append(rows.reshape(batch, outputs * p.numel()))
    joined = processes.stacked(parts)
    return {p: rows.reshape(-1, p.numel()) for p, rows in zip(held, joined, strict=True)}


def _blockwise(blocks: Tensor, matrix: Tensor) -> Tensor:
    """Return blockdiag(blocks) @ matrix for blocks `[n, c, c]`."""
    count, size, _ = blocks.shape
    return (blocks @ matrix.reshape(count, size, -1)).reshape(count * size, -1)
