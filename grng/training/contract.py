"""What the trainer uses of an optimizer (docs/architecture.md, Optimizer)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor


class Coverage(Protocol):
    """What the trainer reads of an optimizer's coverage."""

    def parameters(self, rule: str) -> int:
        """Return the number of parameter entries under a rule."""

    def summary(self) -> str:
        """Return it in one line."""

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return its rows."""


class TrainableOptimizer(Protocol):
    """What the trainer uses of an optimizer."""

    collect_diagnostics: bool
    param_groups: list[dict[str, Any]]
    is_second_order: bool
    needs_closure: bool
    gradient_factor: float
    synchronise: bool

    def observe(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch's outputs and targets."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters."""

    def average_gradients(self) -> None:
        """Average the gradients over the processes in a step whose backward kept their graph; `step` does it anyway."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""

    def diagnostics(self) -> dict[str, float]:
        """Return plain floats of the last collected step."""

    def coverage(self) -> Coverage | None:
        """Return which parameter is stepped by which rule; None where one rule serves all."""

    def close(self) -> None:
        """Take the hooks off the model."""
