"""`filter_scope="layer"`: one filter a layer that keeps its rows, and with them the correlations between its weights.

    h_j = Σ_{b∈j} ∇ℓ̂_b / √n_j     for group j of n_j samples, ℓ̂ the loss for labels *sampled* from the model
    posterior precision  λ_i I + Hᵀ H,    H the last k blocks of r rows (the oldest is forgotten),
                         λ_i = ρ · mean_j ‖h_j‖²        the regulariser, scale-free
    m ← β m + (1−β) g,  V = β m + (1−β) g               Nesterov's momentum
    δ_i = −(V − Hᵀ (H Hᵀ + λ_i I)⁻¹ H V),  scaled to root-mean-square 1;   θ ← θ − lr·w·θ + lr·δ_i

δ_i is λ_i times the posterior covariance applied to −V (Woodbury), so only (k r) × (k r) is ever solved and no Fisher
matrix is formed. The layers are those with a product rule (Linear, Conv2d); their biases and all else take AdamW.

A weight's state: `rows` `[k·r, entries]`, a ring of k blocks, zero where nothing was observed yet; `gram` = H Hᵀ;
`filled` `[k]`, the rows of each block; `block`, which is written next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from grng.curvature.coverage import Coverage
from grng.curvature.layers import Layer, find_layers
from grng.curvature.precision import wide, wide_zeros
from grng.optim.adamw_rule import adamw_step
from grng.optim.rkalman_rows import GatheredRows, positive_factor
from grng.optim.units import Partition, Unit

if TYPE_CHECKING:
    from grng.optim.rkalman import RKalman

SMALLEST_RMS = 1e-12
RULE = "filter"


class LayerFilter:
    """One filter a layer.

    Args:
        values: The optimizer's hyperparameters, defaults filled in.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.rho: float = values["rho"]
        self.rows: int = values["rows"]
        self.memory: int = values["memory"]
        self.lr: float = values["lr"]
        self.other_lr: float = values["other_lr"]
        self.failed_solves = 0
        self._gathered = GatheredRows()
        self._partition = Partition((), {})
        self._dampings: list[float] = []

    # --- which parameter is stepped by which rule

    def split(self, model: nn.Module, held: Sequence[nn.Parameter], group: dict[str, Any]) -> list[dict[str, Any]]:
        """Part a group into weights with a filter and the rest, whose `other_lr` a group's own lr scales alike."""
        self._partition = _partition(model, held)
        return self._partition.split(
            group, other_rule="adamw", other_lr=self.other_lr, default_lr=self.lr, layer_rule=RULE
        )

    def watched(self, model: nn.Module, held: Sequence[nn.Parameter]) -> list[Layer]:
        """Return the layers that have a filter."""
        return self._partition.layers

    def coverage(self, model: nn.Module) -> Coverage:
        """Say for every parameter whether it has a layer's filter, and if not, why."""
        return self._partition.coverage(model, other_rule="adamw", layer_rule=RULE)

    # --- observation

    def observe(self, optimizer: RKalman, outputs: Tensor, targets: Tensor) -> None:
        """Gather Σ_{b∈j} ∇ℓ̂_b for labels drawn from the model."""
        cotangent, _ = optimizer.sampled_cotangent(outputs)
        weights = [layer.weight for layer in optimizer.watched]
        self._gathered.gather(optimizer, outputs, cotangent, weights, layers=optimizer.watched, limit=self.rows)

    # --- the step

    def forget(self) -> None:
        """Forget the rows of the coming step; those of the last steps stay."""
        self._gathered = GatheredRows()

    def step(self, optimizer: RKalman) -> None:
        """Push the observed rows, precondition, move; AdamW for the rest."""
        weights = [layer.weight for layer in optimizer.watched]
        rows, sizes = self._gathered.merged(self.rows, optimizer.processes, weights)
        self._gathered, self._dampings = GatheredRows(), []
        for group in optimizer.param_groups:
            gradients = {p: p.grad.detach() for p in group["params"] if p.grad is not None}
            if group["rule"] != RULE:
                adamw_step(group, gradients, optimizer.state)
                continue
            for p, gradient in gradients.items():
                state = optimizer.state[p]
                if p in rows:
                    self._push(state, rows[p].flatten(1), sizes)
                vector = _with_momentum(state, p, gradient, group["momentum"])
                step = self._filtered(state, vector.flatten(), report=optimizer.collect_diagnostics)
                rms = step.square().mean().sqrt().clamp(min=SMALLEST_RMS)
                if group["weight_decay"]:
                    p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.sub_((step / rms).reshape(p.shape).to(p.dtype), alpha=group["lr"])

    def _push(self, state: dict[str, Any], rows: Tensor, sizes: Sequence[int]) -> None:
        """Overwrite the oldest block by these rows over √(group size), and bring H Hᵀ up to date."""
        if not bool(torch.isfinite(torch.linalg.vector_norm(rows))):
            self.failed_solves += 1
            return
        if "rows" not in state:
            total = self.memory * self.rows
            state["rows"] = rows.new_zeros(total, rows.shape[1])
            state["gram"] = rows.new_zeros(total, total)
            state["filled"] = torch.zeros(self.memory, dtype=torch.int64)
            state["block"] = 0
        start, end = state["block"] * self.rows, (state["block"] + 1) * self.rows
        block = state["rows"][start:end]
        scales = torch.tensor(sizes, dtype=rows.dtype, device=rows.device).rsqrt()
        torch.mul(rows, scales[:, None], out=block[: len(rows)])
        block[len(rows) :] = 0.0
        products = block @ state["rows"].mT
        state["gram"][start:end] = products
        state["gram"][:, start:end] = products.mT
        state["filled"][state["block"]] = len(rows)
        state["block"] = (state["block"] + 1) % self.memory

    def _filtered(self, state: dict[str, Any], vector: Tensor, *, report: bool) -> Tensor:
        """Return V − Hᵀ (H Hᵀ + λ I)⁻¹ H V; V itself where no row was ever observed."""
        if "rows" not in state:
            return vector
        rows, gram = state["rows"], state["gram"]
        vector = vector.to(rows.dtype)
        damping = self.rho * gram.diagonal().sum() / int(state["filled"].sum())  # ρ · mean ‖h_j‖²
        if report:
            self._dampings.append(float(damping))
        damped = gram.clone()
        damped.diagonal().add_(damping)
        # rows that were never written are zero and, where nothing else keeps them regular, must not be singular
        damped.diagonal().masked_fill_(damped.diagonal() == 0, 1.0)
        factor = positive_factor(damped)
        if factor is None:
            self.failed_solves += 1
            return vector
        weights = torch.cholesky_solve((rows @ vector)[:, None], factor)[:, 0]
        filtered: Tensor = vector - weights @ rows
        return filtered

    # --- what is reported and saved

    def diagnostics(self) -> dict[str, float]:
        """Return the dampings λ_i and the count of failed solves."""
        found = {"failed_solves": float(self.failed_solves)}
        if self._dampings:
            found |= {
                "damping": sum(self._dampings) / len(self._dampings),
                "damping_max": max(self._dampings),
                "damping_min": min(self._dampings),
            }
        return found

    def state(self) -> dict[str, Any]:
        """Return the count of failed solves."""
        return {"failed_solves": self.failed_solves}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """Load the count of failed solves."""
        self.failed_solves = int(saved["failed_solves"])


def _partition(model: nn.Module, held: Sequence[nn.Parameter]) -> Partition:
    """Group the held parameters: a filter for every layer's weight, nothing in common for the rest."""
    found, reasons = find_layers(model, set(held), max_factor_size=None)
    biases = {layer.bias: f"{type(layer.module).__name__} (bias)" for layer in found if layer.bias is not None}
    layers = [replace(layer, bias=None) for layer in found]
    units = [Unit(layer.weight, (layer.weight,), layer) for layer in layers]
    covered = {layer.weight for layer in layers}
    return Partition((*units, *(Unit(p, (p,)) for p in held if p not in covered)), {**reasons, **biases})


def _with_momentum(state: dict[str, Any], p: nn.Parameter, gradient: Tensor, decay: float) -> Tensor:
    """Move m, and return V = β m + (1−β) g."""
    gradient = wide(gradient)
    if decay == 0.0:
        return gradient
    if "momentum_buffer" not in state:
        state["momentum_buffer"] = wide_zeros(p)
    buffer: Tensor = state["momentum_buffer"].mul_(decay).add_(gradient, alpha=1.0 - decay)
    return buffer * decay + gradient * (1.0 - decay)
