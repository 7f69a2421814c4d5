"""The table of optimizers. A new one is a source file, a row here, a test and a config; nothing else is edited."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch

from grng.errors import UnknownNameError, suggest
from grng.optim.hyperparameters import Hyperparameter, read_signature

Kind = Literal["first-order", "second-order", "bayesian"]


@dataclass(frozen=True, slots=True)
class OptimizerInfo:
    """One row: what an optimizer is called, where its class is, and what a reader wants to know before choosing it.

    Attributes:
        name: As given on the command line.
        target: `module:Class`; imported at first use.
        summary: One line.
        equation: The update, in text.
        cost: What a step costs beside AdamW's, in words.
        paper: Where it comes from.
        kind: first-order, second-order or bayesian.
        memory: What it keeps between steps, in bytes a parameter of 32 bits.
        measured: A step's time and the state, from docs/results/step-cost.md and step-cost-larger.md.
        needs: What it needs of the training loop beside gradients.
        fixed: Constructor arguments that this row fixes.
        defaults: Defaults that this row sets instead of the signature's.
    """

    name: str
    target: str
    summary: str
    equation: str
    cost: str
    paper: str
    kind: Kind
    memory: str = ""
    measured: str = ""
    needs: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    defaults: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def optimizer_class(self) -> type[torch.optim.Optimizer]:
        """Import and return the class."""
        module, _, name = self.target.partition(":")
        found: type[torch.optim.Optimizer] = getattr(importlib.import_module(module), name)
        return found

    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """Return the hyperparameters that a user may set, by name."""
        return read_signature(self.optimizer_class(), without=tuple(self.fixed), defaults=self.defaults)


_ROWS = (
    OptimizerInfo(
        name="sgd",
        target="grng.optim.first_order:SGD",
        summary="stochastic gradient descent with momentum (torch's own)",
        equation="m ← β m + g;  θ ← θ − lr m",
        cost="1 ×",
        paper="Robbins & Monro 1951; Polyak 1964",
        kind="first-order",
        memory="4 B: the momentum",
        measured="0.9 to 1.0 × AdamW's step, 4 B",
    ),
    OptimizerInfo(
        name="adamw",
        target="grng.optim.first_order:AdamW",
        summary="Adam with decoupled weight decay (torch's own)",
        equation="θ ← θ − lr (m̂ / (√v̂ + ε) + w θ)",
        cost="1 ×",
        paper="Loshchilov & Hutter 2019, arXiv 1711.05101",
        kind="first-order",
        memory="8 B: two moments",
        measured="1.0 × AdamW's step, 8 B",
    ),
    OptimizerInfo(
        name="kfac",
        target="grng.optim.kfac:KFAC",
        summary="natural gradient with Kronecker-factored curvature, constant damping and a KL trust region",
        equation="δ = −(A ⊗ G + λ I)⁻¹ g",
        cost="one outputs-only backward per curvature update, inverses now and then",
        paper="Martens & Grosse 2015, arXiv 1503.05671",
        kind="second-order",
        memory="4 B, and of each layer with m inputs and n outputs 8 (m² + n²) B: its two factors and their inverses",
        measured="1.3 to 1.6 × AdamW's step, 18 to 51 B",
        needs=("observe",),
    ),
    OptimizerInfo(
        name="sophia-g",
        target="grng.optim.sophia:Sophia",
        summary="clipped diagonal second-order method, Gauss-Newton-Bartlett estimator",
        equation="h ← β₂ h + (1−β₂) B ĝ⊙ĝ;  θ ← θ − lr clip(m / max(γh, ε), 1)",
        cost="one extra backward every 10th step",
        paper="Liu et al. 2023, arXiv 2305.14342",
        kind="second-order",
        memory="8 B: the first moment and the diagonal curvature",
        measured="1.0 to 1.1 × AdamW's step, 8 B",
        needs=("observe",),
        fixed=MappingProxyType({"estimator": "gnb"}),
    ),
    OptimizerInfo(
        name="sophia-h",
        target="grng.optim.sophia:Sophia",
        summary="clipped diagonal second-order method, Hutchinson estimator",
        equation="h ← β₂ h + (1−β₂) u⊙(H u);  θ ← θ − lr clip(m / max(γh, ε), 1)",
        cost="one double backward every 10th step",
        paper="Liu et al. 2023, arXiv 2305.14342",
        kind="second-order",
        memory="8 B: the first moment and the diagonal curvature",
        measured="1.2 × AdamW's step, 8 B",
        needs=("create_graph",),
        fixed=MappingProxyType({"estimator": "hutchinson"}),
    ),
    OptimizerInfo(
        name="ring",
        target="grng.optim.ring:RING",
        summary="regularised implicit natural gradient: the gradient norm damps the metric",
        equation="λ_t = λ + ρ‖g‖²;  δ = −(A ⊗ G + λ_t I)⁻¹ g",
        cost="K-FAC's, and a norm per layer",
        paper="Dash, Abdi, Pan, Kaski, Sun, arXiv 2601.18420 (formulas derived here)",
        kind="second-order",
        memory="4 B, and of each layer with m inputs and n outputs 8 (m² + n²) B: its two factors and their inverses",
        measured="1.2 to 1.6 × AdamW's step, 18 to 51 B",
        needs=("observe",),
    ),
    OptimizerInfo(
        name="reng",
        target="grng.optim.reng:RENG",
        summary="regularised explicit natural gradient: the gradient of L + (ρ/2)‖∇L‖² in the natural metric",
        equation="δ = −(A ⊗ G + λ I)⁻¹ (g + ρ H g)",
        cost="K-FAC's, and a double backward at every step (or one more pass with finite differences)",
        paper="Dash, Abdi, Pan, Kaski, Sun, arXiv 2601.18420 (formulas derived here)",
        kind="second-order",
        memory="4 B, and of each layer with m inputs and n outputs 8 (m² + n²) B: its two factors and their inverses",
        measured="3.5 × AdamW's step, 30 to 51 B",
        needs=("observe", "create_graph"),
    ),
    OptimizerInfo(
        name="r-kalman",
        target="grng.optim.rkalman:RKalman",
        summary="natural gradient as a regularised Kalman filter on the weights; no Fisher matrix is inverted",
        equation="δ = −λ(HᵀH + λI)⁻¹ g,  H: rows h of the last steps,  λ = ρ mean ‖h‖²",
        cost="a forward and an outputs-only backward on an eighth of the batch; about 1 × (observation=loss)",
        paper="Dash, Abdi, Pan, Kaski, Sun, arXiv 2601.18420 (recursion derived here)",
        kind="bayesian",
        memory="4 B, and 4 B for each row that a layer's filter keeps: 4 rows of each of 8 steps",
        measured="1.4 to 1.7 × AdamW's step, 130 to 132 B",
        needs=("observe",),
    ),
    OptimizerInfo(
        name="gr-sgd",
        target="grng.optim.controls:GRSGD",
        summary="SGD on the regularised loss L + (ρ/2)‖∇L‖²: RENG's control without a natural gradient",
        equation="m ← β m + g + ρ H g;  θ ← θ − lr m",
        cost="a double backward at every step (or one more pass with finite differences)",
        paper="Barrett & Dherin 2021, arXiv 2009.11162; Karakida et al. 2023, arXiv 2210.02720",
        kind="first-order",
        memory="4 B: the momentum",
        measured="3.2 to 3.3 × AdamW's step, 4 B",
        needs=("create_graph",),
    ),
    OptimizerInfo(
        name="gr-adamw",
        target="grng.optim.controls:GRAdamW",
        summary="AdamW on the regularised loss L + (ρ/2)‖∇L‖²: RENG's control without a natural gradient",
        equation="AdamW's step for g + ρ H g",
        cost="a double backward at every step (or one more pass with finite differences)",
        paper="Barrett & Dherin 2021, arXiv 2009.11162; Zhao et al. 2024, arXiv 2406.09723",
        kind="first-order",
        memory="8 B: two moments",
        measured="3.3 × AdamW's step, 8 B",
        needs=("create_graph",),
    ),
    OptimizerInfo(
        name="sam",
        target="grng.optim.controls:SAM",
        summary="sharpness-aware minimisation: SGD with the gradient at the worst nearby weights",
        equation="m ← β m + ∇L(θ + r g/‖g‖);  θ ← θ − lr m",
        cost="2 ×: a second forward and backward at every step",
        paper="Foret et al. 2021, arXiv 2010.01412",
        kind="first-order",
        memory="4 B: the momentum",
        measured="1.9 × AdamW's step, 4 B",
        needs=("closure",),
    ),
)


def _table(rows: tuple[OptimizerInfo, ...]) -> Mapping[str, OptimizerInfo]:
    table: dict[str, OptimizerInfo] = {}
    for row in rows:
        if row.name in table:
            raise ValueError(f"two optimizers are called {row.name!r}")
        table[row.name] = row
    return MappingProxyType(table)


REGISTRY: Mapping[str, OptimizerInfo] = _table(_ROWS)


def find(name: str) -> OptimizerInfo:
    """Return the row of `name`.

    Raises:
        UnknownNameError: With the nearest names.
    """
    if name not in REGISTRY:
        raise UnknownNameError(
            f"unknown optimizer {name!r}.",
            hint=suggest(name, REGISTRY, otherwise=f"Known: {', '.join(REGISTRY)}, and timm:NAME."),
        )
    return REGISTRY[name]
