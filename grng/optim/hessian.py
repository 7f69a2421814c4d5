"""The Hessian-vector product H g of gradient regularisation: ∇[L + (ρ/2)‖∇L‖²] = g + ρ H g.

By double backprop, exactly, for a gradient that was taken with `create_graph=True`; or by a finite difference of
gradients (∇L(θ + ε g/‖g‖) − ∇L(θ)) ‖g‖ / ε, which needs one more pass and no second-order derivative (Karakida et al.
2022, arXiv 2210.02720).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from grng.curvature.hooks import HookOwner
from grng.curvature.precision import wide
from grng.errors import GrngError
from grng.optim.processes import require_no_sync

HALF_EPSILON = torch.finfo(torch.float16).eps


def silence_create_graph_warning() -> None:
    """Use up the warning that torch gives, once in a process, at the first `backward(create_graph=True)`.

    It warns of a reference cycle that is broken here at every step. A filter would do as well, but filters are the
    caller's own.
    """
    leaf = torch.zeros((), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (leaf * leaf).backward(create_graph=True)
    leaf.grad = None


def double_backprop(
    gradients: Sequence[Tensor],
    parameters: Sequence[nn.Parameter],
    vector: Sequence[Tensor],
    *,
    retain_graph: bool = False,
    alternative: str = "hvp=finite_difference",
) -> list[Tensor]:
    """Return H v, one tensor a parameter.

    Args:
        gradients: ∇L with its graph (`create_graph=True`), one tensor a parameter.
        parameters: The parameters.
        vector: v, without a graph.
        retain_graph: Whether there may be a further product with the same graph.
        alternative: What to choose where there is no double backward.

    Raises:
        GrngError: The gradients carry no graph, or an operator of the model has no double backward.
    """
    with_graph = [(gradient, v) for gradient, v in zip(gradients, vector, strict=True) if gradient.requires_grad]
    if not with_graph:
        raise GrngError(
            "the gradients carry no graph for the Hessian-vector product.",
            where="step",
            hint=f"Call loss.backward(create_graph=optimizer.is_second_order), or choose {alternative}.",
        )
    try:
        with torch.enable_grad():
            products = torch.autograd.grad(
                [g for g, _ in with_graph],
                parameters,
                grad_outputs=[v for _, v in with_graph],
                retain_graph=retain_graph,
                allow_unused=True,
            )
    except RuntimeError as error:
        if "not implemented" not in str(error) and "double backward" not in str(error):
            raise
        if "torch.compile" in str(error):
            message, hint = "a compiled model has no double backward.", f"Choose {alternative}, or do not compile."
        else:
            message, hint = f"an operator of this model has no double backward ({error}).", f"Choose {alternative}."
        raise GrngError(message, where="step", hint=hint) from error
    return [
        torch.zeros_like(p) if product is None else product.detach()
        for p, product in zip(parameters, products, strict=True)
    ]


def free_graph(model: nn.Module) -> None:
    """Detach every gradient of the model, also those that the optimizer does not hold: no graph outlives a step."""
    for p in model.parameters():
        if p.grad is not None and p.grad.requires_grad:
            p.grad = p.grad.detach()


class RandomStateRecorder(HookOwner):
    """Remembers each forward's random state, for a second pass with the same dropout masks, and its autocast."""

    def __init__(self, model: nn.Module, due: Callable[[], bool]) -> None:
        super().__init__(due)
        self.state: list[Tensor] | None = None
        self.autocast: torch.dtype | None = None
        self.attach(model, "_remember", before=True)

    def _remember(self, module: nn.Module, args: Any, output: None) -> None:
        if self.is_due() and torch.is_grad_enabled():
            self.state, self.autocast = random_state(module), autocast_dtype(module)


def random_state(model: nn.Module) -> list[Tensor]:
    """Return the CPU's random state, and that of the model's CUDA device where it has one."""
    device = next(model.parameters()).device
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def autocast_dtype(model: nn.Module) -> torch.dtype | None:
    """Return the dtype that autocast chooses on the model's device, or None where it is off."""
    kind = next(model.parameters()).device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def set_random_state(model: nn.Module, state: Sequence[Tensor]) -> None:
    """Undo `random_state`."""
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1], next(model.parameters()).device)


@contextmanager
def untouched(model: nn.Module, forward_state: Sequence[Tensor] | None) -> Iterator[None]:
    """Let a second pass run with the first one's random state; leave random state and buffers as they were."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    after = random_state(model)
    if forward_state is not None:
        set_random_state(model, forward_state)
    try:
        yield
    finally:
        set_random_state(model, after)
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)


def moved_gradient(
    parameters: Sequence[nn.Parameter],
    offset: Sequence[Tensor],
    closure: Callable[[], float],
    model: nn.Module,
    forward_state: Sequence[Tensor] | None,
) -> list[Tensor]:
    """Return ∇L(θ + offset), one tensor a parameter; θ and `.grad` are restored, bit for bit.

    Args:
        parameters: The parameters.
        offset: By how much they are moved, one tensor a parameter.
        closure: Recomputes loss and gradients of the same batch at the present weights.
        model: Whose buffers and random state must be the same in both passes and unchanged afterwards.
        forward_state: The random state before the first forward, or None where it drew nothing.
    """
    saved = [p.detach().clone() for p in parameters]
    # under DDP `.grad` may be a view of the buffer in which the closure's backward averages its gradients
    kept: list[tuple[nn.Parameter, Tensor | None, Tensor | None]] = [
        (p, p.grad, None if p.grad is None else p.grad.detach().clone()) for p in model.parameters()
    ]
    with torch.no_grad():
        for p, move in zip(parameters, offset, strict=True):
            p.add_(move)
    try:
        for p, _, _ in kept:
            p.grad = None  # the closure may accumulate
        with untouched(model, forward_state), torch.enable_grad():
            closure()
        return [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in parameters]
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, saved, strict=True):
                p.copy_(value)
            for p, grad, gradient in kept:
                p.grad = grad
                if grad is not None and gradient is not None:
                    grad.copy_(gradient)


def finite_difference(
    parameters: Sequence[nn.Parameter],
    gradients: Sequence[Tensor],
    vector: Sequence[Tensor],
    closure: Callable[[], float],
    model: nn.Module,
    forward_state: Sequence[Tensor] | None,
    autocast: torch.dtype | None = None,
) -> list[Tensor]:
    """Return H v by (∇L(θ + ε v/‖v‖) − ∇L(θ)) ‖v‖ / ε; θ and `.grad` are restored.

    Args:
        parameters: The parameters.
        gradients: g = ∇L(θ), one tensor a parameter.
        vector: v, one tensor a parameter.
        closure: See `moved_gradient`.
        model: See `moved_gradient`.
        forward_state: See `moved_gradient`.
        autocast: The dtype in which autocast ran the forward, or None.
    """
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([wide(v) for v in vector])))
    if not bool(norm > 0):
        return [torch.zeros_like(g) for g in gradients]
    epsilon = _difference({v.dtype for v in vector} | ({autocast} if autocast else set()))
    moved = moved_gradient(parameters, [v * (epsilon / norm) for v in vector], closure, model, forward_state)
    return [((wide(m) - wide(g)) * (norm / epsilon)).to(g.dtype) for m, g in zip(moved, gradients, strict=True)]


def _difference(dtypes: set[torch.dtype]) -> float:
    """Return ε, the length of the move: √machine-epsilon of the coarsest dtype, an eighth of it in half precision.

    Not scaled by ‖θ‖, as is often advised: over a whole model that is too long a step (H v half wrong on test_vit). In
    half precision a move as short as float32's drowns in the rounding of the weights; at an eighth of √machine-epsilon
    rounding and truncation balance (on test_vit H v is off by 7 % in bfloat16, 2 % in float16; else by 160 %, 20 %).
    """
    machine = max(float(torch.finfo(dtype).eps) for dtype in dtypes)
    return math.sqrt(machine) / (1.0 if machine < HALF_EPSILON else 8.0)


class MathAttention(HookOwner):
    """Runs the model's forward under the math backend of attention while `due()`: fused ones have no double backward.

    Under DDP it also sees to it that such a forward stands under `no_sync`. Hooks of the model itself, so that no
    global state changes; closed by `close()` or with the owner of `due`.
    """

    def __init__(self, model: nn.Module, due: Callable[[], bool]) -> None:
        super().__init__(due)
        self._stacks: list[ExitStack] = []
        self.attach(model, "_enter", before=True)
        self.attach(model, "_leave", always_call=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_stacks": []}

    def _enter(self, module: nn.Module, args: Any, output: None) -> None:
        stack = ExitStack()
        if self.is_due():
            require_no_sync(module)
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        self._stacks.append(stack)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._stacks:
            self._stacks.pop().close()
