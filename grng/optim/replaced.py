"""torch's own optimizers, stepped with another gradient than the one in `.grad`."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from torch import Tensor, nn

from grng.optim.contract import Contract
from grng.optim.hessian import free_graph
from grng.optim.loss_scale import (
    SkippedSecondPass,
    SkippedStep,
    hidden_scaler_state,
    scaler_state,
    skips,
    unscaled_closure,
)


class ReplacedGradient(Contract, ABC):
    """Mixin of a torch optimizer, whose rule then gets `_vectors(...)` in place of the gradients.

    To be placed before the torch optimizer in the bases. `.grad` holds the loss's own gradient again after the step.
    """

    model: nn.Module
    param_groups: list[dict[str, Any]]
    defaults: dict[str, Any]

    def _attach(self, model: nn.Module, **group_defaults: Any) -> None:
        """Finish the construction; `group_defaults` are what the groups hold beside torch's own entries."""
        self.model = model
        self.steps = 0
        self.skipped_steps = 0  # by a GradScaler's overflow, in steps with two passes
        self.suspended = False  # while the optimizer itself runs the model
        self.defaults |= group_defaults  # of groups added later
        for group in self.param_groups:
            for name, value in group_defaults.items():
                group.setdefault(name, value)
        self._attach_probe()

    @abstractmethod
    def _vectors(
        self, gradients: dict[nn.Parameter, Tensor], closure: Callable[[], float] | None
    ) -> dict[nn.Parameter, Tensor]:
        """Return what the rule steps with, from the gradients g (which may carry a graph)."""

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step.

        Args:
            closure: Recomputes loss and gradients of the same batch. Where `needs_closure` holds it is called at the
                perturbed weights; elsewhere, as in torch, it is called once before the step.

        Raises:
            GrngError: A closure is needed and missing.
        """
        with scaler_state(self):
            return self._scaled_step(unscaled_closure(self, closure))

    def _scaled_step(self, closure: Callable[[], float] | None) -> float | None:
        loss = None
        if closure is not None and not self.needs_closure:
            with torch.enable_grad():
                loss = closure()
        try:
            with torch.no_grad():
                if skips(self):
                    raise SkippedStep
                self.average_gradients()
                held = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
                vectors = self._vectors({p: p.grad for p in held}, closure)
        except SkippedStep as skipped:  # of the scaler's own doing: the next step takes this one's place
            self.skipped_steps += 1
            self.steps += isinstance(skipped, SkippedSecondPass)
            free_graph(self.model)
            return loss
        own = {p: p.grad.detach() for p in held}
        try:
            for p, vector in vectors.items():
                p.grad = vector
            with hidden_scaler_state(self):
                self._rule()
        finally:
            for p, gradient in own.items():
                p.grad = gradient
            self.steps += 1
        return loss

    def _rule(self) -> None:
        """Take torch's own step, without the hooks around it, which are around `step` and must not run twice."""
        base: Any = next(
            kind for kind in type(self).__mro__ if "step" in vars(kind) and not issubclass(kind, ReplacedGradient)
        )
        inspect.unwrap(base.step, stop=lambda step: not getattr(step, "hooked", False))(self)

    def _own_diagnostics(self) -> dict[str, float]:
        return {"skipped_steps": float(self.skipped_steps)}

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state_dict with the counts of steps beside it, under `grng`."""
        base: Any = super()
        saved: dict[str, Any] = base.state_dict()
        saved["grng"] = {"steps": self.steps, "skipped_steps": self.skipped_steps}
        return saved

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned."""
        base: Any = super()
        base.load_state_dict(dict(state_dict))
        self.steps = int(state_dict["grng"]["steps"])
        self.skipped_steps = int(state_dict["grng"]["skipped_steps"])
