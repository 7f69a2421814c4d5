"""Steps with two passes under a loss scale S (`torch.amp.GradScaler`), which multiplies the loss that backward sees.

A step with one pass leaves all to the scaler: it divides `.grad` by S and skips the step where that overflowed. But
where H g is formed by double backprop, the graph of `.grad` is that of S g; and a closure's gradients are S times too
long as well. torch's protocol for such steps is `_step_supports_amp_scaling`: the scaler then sets `grad_scale` (None
where the user called `unscale_` before) and `found_inf` on the optimizer for the time of the step, and leaves
unscaling and skipping to it. Only steps with two passes ask for it, since trainers refuse to clip gradients where a
step unscales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from grng.curvature.precision import norms
from grng.errors import GrngError
from grng.optim.hessian import double_backprop

# Double backprop's intermediate results can overflow where the gradient's did not: then with a shorter vector.
SHORTER = (1.0, 2.0**-8, 2.0**-16)


class SkippedStep(Exception):
    """The step is to be skipped, and nothing has been changed: the scaler found an overflow, or a second pass did."""


class SkippedSecondPass(SkippedStep):
    """H v, or a closure's gradient, is not finite. No scaler learns of it, so the next step is the one after it."""


@contextmanager
def scaler_state(optimizer: Any) -> Iterator[None]:
    """Remove what a GradScaler has set on the optimizer where the step fails; the scaler itself would not."""
    try:
        yield
    except BaseException:
        vars(optimizer).pop("grad_scale", None)
        vars(optimizer).pop("found_inf", None)
        raise


@contextmanager
def hidden_scaler_state(optimizer: Any) -> Iterator[None]:
    """Let torch's own rules, which would unscale once more or refuse to, see nothing of the GradScaler."""
    hidden = {name: vars(optimizer).pop(name) for name in ("grad_scale", "found_inf") if name in vars(optimizer)}
    try:
        yield
    finally:
        vars(optimizer).update(hidden)


def overflowed(optimizer: Any) -> bool:
    """Whether the GradScaler, if there is one, found a gradient that is not finite."""
    found = vars(optimizer).get("found_inf")
    return found is not None and bool(found > 0)


def skips(optimizer: Any) -> bool:
    """Whether the step is to be skipped, in all processes alike: a backward under `no_sync` overflows in one alone."""
    return "found_inf" in vars(optimizer) and optimizer.processes.any_of([overflowed(optimizer)])[0]


def unscale_gradients(optimizer: Any, args: Any = None, kwargs: Any = None) -> None:
    """Divide `.grad` by S, graph included; a hook before the step, so that all that follows sees g.

    Raises:
        GrngError: The user called `unscale_` in a step with two passes, or the gradients are in float16.
    """
    if "found_inf" not in vars(optimizer) or overflowed(optimizer):
        return
    scale, held = vars(optimizer).get("grad_scale"), _with_gradient(optimizer)
    with scaler_state(optimizer):
        if scale is None:
            raise GrngError(
                "GradScaler.unscale_ was called before a step with two passes, which needs the scaled gradients.",
                where="step",
                hint="Leave unscale_ (and clipping) out of steps where is_second_order or needs_closure holds.",
            )
        if any(p.grad is not None and p.grad.dtype == torch.float16 for p in held):
            raise GrngError(
                "a GradScaler cannot unscale float16 gradients.",
                where="step",
                hint="Keep the model's weights in float32 and run its forward under torch.autocast.",
            )
    for p in held:
        assert p.grad is not None
        if p.grad.requires_grad:
            with torch.enable_grad():
                p.grad = p.grad / scale.to(p.grad.device)
        else:
            p.grad.div_(scale.to(p.grad.device))


def unscaled_closure(optimizer: Any, closure: Callable[[], float] | None) -> Callable[[], float] | None:
    """Return a closure that divides the gradients of the given one by S, and raises `SkippedSecondPass` on overflow."""
    scale = vars(optimizer).get("grad_scale")
    if closure is None or scale is None:
        return closure

    def unscaled() -> float:
        loss = closure()
        gradients = [p.grad for p in _with_gradient(optimizer) if p.grad is not None]
        with torch.no_grad():
            for gradient in gradients:
                gradient.div_(scale.to(gradient.device))
            if not _finite(gradients):
                raise SkippedSecondPass
        return loss

    return unscaled


def scaled_double_backprop(
    optimizer: Any,
    gradients: Sequence[Tensor],
    parameters: Sequence[nn.Parameter],
    vector: Sequence[Tensor],
    alternative: str = "hvp=finite_difference",
) -> list[Tensor]:
    """Return H v as `double_backprop` does; under a loss scale in the range that half precision can hold.

    The graph is that of (S g)/S. Given S v/‖v‖, what enters the half-precision part of it is v/‖v‖, and what comes out
    is as large as the scaled gradient itself. ‖v‖ is rounded to a power of two, so that nothing else changes.
    """
    scale = vars(optimizer).get("grad_scale")
    if scale is None or not vector:
        return double_backprop(gradients, parameters, vector, alternative=alternative)
    norm = torch.linalg.vector_norm(norms(vector))
    _, exponent = torch.frexp(norm)
    product: list[Tensor] = []
    for shorter in SHORTER:
        factor = torch.ldexp(scale.double() * shorter, -exponent)
        scaled = [v * factor.to(v.device, v.dtype) for v in vector]
        product = double_backprop(gradients, parameters, scaled, retain_graph=True, alternative=alternative)
        if _finite(product):
            return [part / factor.to(part.device, part.dtype) for part in product]
    return product


def refuse_overflow(product: Sequence[Tensor]) -> None:
    """Raise `SkippedSecondPass` where what a second pass gave is not finite: an overflow, or no second derivative."""
    if not _finite(product):
        raise SkippedSecondPass


def _with_gradient(optimizer: Any) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _finite(tensors: Sequence[Tensor]) -> bool:
    return not tensors or bool(norms(tensors).isfinite().all())
