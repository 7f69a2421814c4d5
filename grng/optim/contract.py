"""What every optimizer of grng offers beside torch's own interface, so that one training loop serves them all.

optimizer.observe(outputs, targets)      after the forward, before the backward; curvature for this batch, when due
optimizer.is_second_order                whether this step's backward needs create_graph=True
optimizer.needs_closure                  whether this step calls a closure that recomputes loss and gradients of the
same batch
optimizer.collect_diagnostics = True     before a step whose diagnostics are wanted
optimizer.diagnostics()                  plain floats of the last such step
optimizer.coverage()                     which parameter is stepped by which rule, or None where one rule serves all
optimizer.close()                        removes hooks from the model
optimizer.average_gradients()            before gradients are clipped, of several processes; else `step` does it
optimizer.gradient_factor = c            where the loop has clipped g to c g before a step with a closure, whose
                                         gradients it multiplies by c as well
optimizer.process_group = group          the processes that train the model together; None: torch's default group
optimizer.synchronise = False            for processes that train models of their own
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from grng.curvature.coverage import Coverage
from grng.optim.copies import Copies
from grng.optim.loss_scale import unscale_gradients
from grng.optim.processes import Processes


class Contract(Copies):
    """Mixin: the answers of a first-order optimizer, and the diagnostics that can be measured from outside."""

    collect_diagnostics: bool = False
    skipped_steps: int = 0  # where the step itself skips; what a GradScaler leaves out of torch's own is not counted
    gradient_factor: float = 1.0  # what the caller has multiplied `.grad` by, and a closure's gradients: clipping
    process_group: Any = None
    synchronise: bool = True
    param_groups: list[dict[str, Any]]
    _probe: dict[str, Any]

    @property
    def processes(self) -> Processes:
        """The processes that train this model together, as things stand now."""
        device = next(p.device for group in self.param_groups for p in group["params"])
        return Processes(self.process_group, device, synchronise=self.synchronise)

    def average_gradients(self) -> None:
        """Average g over the processes where this step forms H g: its backward was under DDP's `no_sync`.

        `step` does it; a loop that clips g does it before, which changes nothing for `step`.
        """
        if self.is_second_order:
            self.processes.average_gradients([p for group in self.param_groups for p in group["params"]])

    def _unscales(self) -> bool:
        """Whether this step unscales and skips by itself, asked by a `GradScaler`: see `loss_scale`."""
        return self.is_second_order or self.needs_closure

    _step_supports_amp_scaling: Any = property(lambda self: self._unscales())  # torch's name for it

    def observe(self, outputs: Tensor, targets: Tensor) -> None:
        """Take the model's outputs `[batch, outputs]` and the targets of this batch; first-order: nothing to do."""

    @property
    def is_second_order(self) -> bool:
        """Whether this step's backward needs `create_graph=True` (timm's name for it)."""
        return False

    @property
    def needs_closure(self) -> bool:
        """Whether this step calls a closure that recomputes loss and gradients."""
        return False

    def coverage(self) -> Coverage | None:
        """Which parameter is stepped by which rule; None where one rule serves all."""
        return None

    def close(self) -> None:
        """Remove whatever the optimizer attached to the model."""

    def diagnostics(self) -> dict[str, float]:
        """Return plain floats of the last step taken with `collect_diagnostics` set.

        Always: `gradient_norm` ‖g‖, `step_weight_ratio` ‖Δθ‖/‖θ‖, `cosine_gradient` between −g and Δθ;
            `cosine_last_step` between Δθ and the step before, where that was collected too.
        """
        return {**self._probe.get("values", {}), **self._own_diagnostics()}

    def _own_diagnostics(self) -> dict[str, float]:
        return {}

    def _attach_probe(self) -> None:
        self._probe = {}
        self._register_probe()

    def _copied(self) -> None:
        super()._copied()
        self._register_probe()

    def _register_probe(self) -> None:
        optimizer: Any = self
        optimizer.register_step_pre_hook(unscale_gradients)
        optimizer.register_step_pre_hook(_before_step)
        optimizer.register_step_post_hook(_after_step)
        optimizer.register_state_dict_post_hook(_save_last_step)
        optimizer.register_load_state_dict_pre_hook(_load_last_step)


def _before_step(optimizer: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
    if not optimizer.collect_diagnostics:
        optimizer._probe.pop("last_step", None)
        return None
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None or optimizer.needs_closure:
        _remember(optimizer)
        return None

    def measured() -> Any:  # a closure of torch's kind makes the gradients within the step
        loss = closure()
        _remember(optimizer)
        return loss

    return args[:1], {**kwargs, "closure": measured}


def _remember(optimizer: Any) -> None:
    # where the step averages g over the processes, `.grad` does not hold it yet
    averages = optimizer.is_second_order and optimizer.processes.active
    held = [p for group in optimizer.param_groups for p in group["params"] if averages or p.grad is not None]
    optimizer._probe["before"] = [(p, p.detach().clone(), None if averages else p.grad.detach().clone()) for p in held]


@torch.no_grad()
def _after_step(optimizer: Any, args: Any, kwargs: Any) -> None:
    before = optimizer._probe.pop("before", None)
    if not before:
        return
    before = [(p, old, p.grad if gradient is None else gradient) for p, old, gradient in before]
    before = [entry for entry in before if entry[2] is not None]
    gradients = [gradient.detach() for _, _, gradient in before]
    steps = [p - old for p, old, _ in before]
    gradient_norm, step_norm = _norm(gradients), _norm(steps)
    values = {
        "gradient_norm": gradient_norm,
        "step_weight_ratio": step_norm / max(_norm([old for _, old, _ in before]), 1e-30),
        "cosine_gradient": -_dot(gradients, steps) / max(gradient_norm * step_norm, 1e-30),
    }
    last = optimizer._probe.get("last_step")
    if last is not None and len(last) == len(steps):
        last = [old.to(new.device) for old, new in zip(last, steps, strict=True)]  # it may come from a checkpoint
        values["cosine_last_step"] = _dot(last, steps) / max(_norm(last) * step_norm, 1e-30)
    optimizer._probe["last_step"] = steps
    optimizer._probe["values"] = values


def _save_last_step(optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Keep the last measured step in the checkpoint, so that a resumed run reports the same cosine."""
    if "last_step" in optimizer._probe:
        state_dict["last_step"] = list(optimizer._probe["last_step"])
    return state_dict


def _load_last_step(optimizer: Any, state_dict: dict[str, Any]) -> None:
    optimizer._probe = {"last_step": list(state_dict["last_step"])} if "last_step" in state_dict else {}


# In float64, since the squares of what a diverging step makes of float32 overflow, and infinity over infinity is NaN.


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors, 2, torch.float64))))


def _dot(left: list[Tensor], right: list[Tensor]) -> float:
    return float(sum((one.double() * other.double()).sum() for one, other in zip(left, right, strict=True)))
