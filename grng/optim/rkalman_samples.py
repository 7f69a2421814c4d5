"""`filter_scope="global"`, `observation="samples"`: r rows, each a group's sum; natural gradient in function space.

    h_j = −Σ_{b∈j} ∇ℓ_b,   noise R·n_j,   innovation ν_j = R·n_j     for group j of n_j samples (B/r where r divides B)
    S = H P Hᵀ + diag(R·n_j),   Δθ = P Hᵀ S⁻¹ ν,   P ← P − diag(P Hᵀ S⁻¹ H P)

so that Hᵀ diag(R·n_j)⁻¹ ν = −B g. Only S, r × r, is ever solved. `update="information"`: P ← P ⊘ (1 + P ⊙ Σ_j h_j⊙h_j
/ (R n_j)); the step is that of the P before it. ℓ is the likelihood's loss with the data's targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grng.curvature.precision import wide, wide_zeros
from grng.curvature.scratch import Scratch
from grng.optim.rkalman_columns import columns_of, spread, weighted_sums
from grng.optim.rkalman_filter import GlobalFilter, Tensors
from grng.optim.rkalman_rows import GatheredRows, positive_factor

if TYPE_CHECKING:
    from grng.optim.rkalman import RKalman


class SamplesFilter(GlobalFilter):
    """Observes groups of samples.

    Args:
        values: The optimizer's hyperparameters, defaults filled in.
    """

    needs_layers = True

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.rows: int = values["rows"]
        self.noise: float = values["noise"]
        self.failed_solves = 0
        self._scratch = Scratch()
        self._gathered = GatheredRows(self._scratch)

    def observe(self, optimizer: RKalman, outputs: Tensor, targets: Tensor) -> None:
        """Gather Σ_{b∈j} ∇ℓ_b (which is −h_j)."""
        held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        cotangent = optimizer.likelihood.output_gradient(wide(outputs.detach()), targets)
        self._gathered.gather(optimizer, outputs, cotangent, held, layers=optimizer.watched, limit=self.rows)

    def forget(self) -> None:
        """Forget the rows."""
        self._gathered = GatheredRows(self._scratch)

    def steps(self, optimizer: RKalman, gradients: Tensors, covariance: Tensors) -> Tensors:
        """Return Δθ / lr = P Hᵀ S⁻¹ ν, and lower P."""
        held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        rows, sizes = self._gathered.merged(self.rows, optimizer.processes, held)
        self.forget()
        rows = {p: rows[p] for p in gradients if p in rows}
        noise = self.noise * torch.tensor(sizes, dtype=torch.float64)
        every = columns_of(rows, covariance)
        products = spread(every, self._scratch, like=noise)
        innovation_variance = products + torch.diag(noise.to(products.device))
        factor = positive_factor(innovation_variance)
        if optimizer.collect_diagnostics:
            self.last = {
                "innovation_variance": float(innovation_variance.diagonal().mean()),
                "noise": float(noise.mean()),
                "failed_solves": float(self.failed_solves + (factor is None)),
            }
        if factor is None:  # rows that are not finite teach nothing
            self.failed_solves += 1
            return {p: wide_zeros(p) for p in gradients}
        weights = torch.cholesky_solve(noise.to(factor.device)[:, None], factor)[:, 0]  # S⁻¹ ν
        asked: dict[str, Tensor] = {}
        if self.update == "joint":
            # L⁻¹, since the squares of L⁻¹ H add up to diag(Hᵀ S⁻¹ H): a product with the small inverse costs far less
            # than a triangular solve of every weight
            identity = torch.eye(len(factor)).to(factor)
            asked["rotation"] = torch.linalg.solve_triangular(factor, identity, upper=False)
        elif self.update == "information":
            asked["scales"] = 1.0 / noise
        joint = self.update == "joint"
        steps: Tensors = {}
        falls: Tensors = {}
        for columns in every:
            total, squares = weighted_sums(columns, weights, self._scratch, **asked)
            steps |= columns.split(total.mul_(columns.variances).neg_())
            if squares is not None:
                falls |= columns.split(squares.mul_(columns.variances.square()) if joint else squares)
        lower = self.lower if joint else self.inform
        lower([covariance[p] for p in falls], list(falls.values()))
        return {p: steps[p] if p in steps else wide_zeros(p) for p in gradients}

    def state(self) -> dict[str, Any]:
        """Return the count of failed solves."""
        return {"failed_solves": self.failed_solves}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """Load the count of failed solves."""
        self.failed_solves = int(saved["failed_solves"])
