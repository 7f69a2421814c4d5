"""`filter_scope="layer"`: one filter a layer that keeps its rows, and with them the correlations between its weights.

    h_j = Σ_{b∈j} ∇ℓ̂_b / √n_j     for group j of n_j samples, ℓ̂ the loss for labels *sampled* from the model
                                   of the first ⌈f·B⌉ samples, in a forward of their own: see `partial_forward`
    posterior precision  λ_i I + Hᵀ H,    H the last k blocks of r rows (the oldest is forgotten),
                         λ_i = ρ · mean_j ‖h_j‖²        the regulariser, scale-free
    m ← β m + (1−β) g,  V = β m + (1−β) g               Nesterov's momentum
    δ_i = −(V − Hᵀ (H Hᵀ + λ_i I)⁻¹ H V),  scaled to root-mean-square 1;   θ ← θ − lr·w·θ + lr·δ_i

δ_i is λ_i times the posterior covariance applied to −V (Woodbury), so only (k r) × (k r) is ever solved and no Fisher
matrix is formed. E h_j h_jᵀ is the Fisher matrix of one sample, whatever n_j is: gradients for labels sampled from the
model have mean zero, so that those of a group add up without correlation. That makes few samples a step enough.

The layers are those with a product rule (Linear, Conv2d); their biases and all else take AdamW.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from grng.curvature.coverage import Coverage
from grng.curvature.layers import Layer, find_layers
from grng.curvature.precision import wide
from grng.curvature.row_gradients import RowGradients
from grng.curvature.scratch import Scratch
from grng.optim.adamw_rule import adamw_step
from grng.optim.rkalman_filter import Tensors
from grng.optim.rkalman_posterior import Posterior
from grng.optim.rkalman_rows import GatheredRows
from grng.optim.units import Partition, Unit
from grng.optim.update import move, nesterov, normalise

if TYPE_CHECKING:
    from grng.optim.rkalman import RKalman

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
        self._scratch = Scratch()
        self._gathered = GatheredRows(self._scratch)
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
        self._gathered = GatheredRows(self._scratch)

    def step(self, optimizer: RKalman) -> None:
        """Push the observed rows, precondition, move; AdamW for the rest."""
        weights = [layer.weight for layer in optimizer.watched]
        rows, sizes = self._gathered.merged(self.rows, optimizer.processes, weights)
        self._gathered, self._dampings = GatheredRows(self._scratch), []
        vectors: Tensors = {}
        for group in optimizer.param_groups:
            gradients = {p: p.grad.detach() for p in group["params"] if p.grad is not None}
            if group["rule"] != RULE:
                adamw_step(group, gradients, optimizer.state)
                continue
            mixed = nesterov(optimizer.state, list(gradients), list(map(wide, gradients.values())), group["momentum"])
            vectors |= zip(gradients, mixed, strict=True)
        steps = self._steps(optimizer, vectors, rows, sizes)
        normalise([[step] for step in steps.values()])
        for group in optimizer.param_groups:
            members = [p for p in group["params"] if p in steps]
            move(group, optimizer.state, members, [steps[p] for p in members], momentum_of_step=False)

    def _steps(self, optimizer: RKalman, vectors: Tensors, rows: RowGradients, sizes: Sequence[int]) -> Tensors:
        steps: Tensors = {}
        for dtype in dict.fromkeys(vector.dtype for vector in vectors.values()):
            posterior = Posterior(optimizer.state, rho=self.rho, rows=self.rows, memory=self.memory)
            steps |= posterior.steps({p: v for p, v in vectors.items() if v.dtype == dtype}, rows, sizes)
            self.failed_solves += posterior.failed
            if optimizer.collect_diagnostics and posterior.dampings is not None:
                self._dampings += posterior.dampings.tolist()
        return steps

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
