"""Every optimizer takes three steps on every architecture of the list: finite, complete, without a trace left behind."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.errors import GrngError
from grng.optim.registry import REGISTRY
from grng.optimizers import create_optimizer
from tests.optim.architectures import ARCHITECTURES, BATCH, NUM_CLASSES, Architecture
from tests.oracles.nets import take_step

Variant = tuple[str, dict[str, Any]]

STEPS = 3
VARIANTS: dict[str, Variant] = {name: (name, {}) for name in REGISTRY} | {
    f"{name}, finite difference": (name, {"hvp": "finite_difference"}) for name in ("reng", "gr-sgd", "gr-adamw")
}
VARIANTS |= {
    "ring, corrected eigenvalues": (
        "ring",
        {"damping_form": "exact", "eigenvalue_correction": True, "weight_sharing": "reduce", "max_factor_size": 300},
    ),
    "r-kalman, loss": ("r-kalman", {"observation": "loss"}),
    "r-kalman, samples": ("r-kalman", {"filter_scope": "global", "rows": BATCH}),
    "r-kalman, layer": ("r-kalman", {"rows": BATCH, "memory": 2, "curvature_batch": 1.0}),
}
SMALL = 100_000  # parameters; below, also R-Kalman's full Jacobian
JACOBIAN: Variant = ("r-kalman", {"observation": "outputs"})


def uses_double_backprop(variant: Variant) -> bool:
    name, given = variant
    return "create_graph" in REGISTRY[name].needs and given.get("hvp") != "finite_difference"


def is_the_stated_error(error: GrngError) -> bool:
    """Whether it says that an operator has no double backward, and what to choose then."""
    hint = error.hint or ""
    return "no double backward" in error.message and ("finite_difference" in hint or "sophia-g" in hint)


def freeze_some(model: nn.Module) -> None:
    """Freeze every ninth parameter, beginning with the second: weights, biases, norms and tables."""
    for p in list(model.parameters())[1::9]:
        p.requires_grad_(False)


def pictures(size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(BATCH, 3, size, size, generator=generator)
    return images, torch.randint(0, NUM_CLASSES, (BATCH,), generator=generator)


def gradient_norm(base: nn.Module, size: int) -> float:
    model = copy.deepcopy(base)
    images, labels = pictures(size, 0)
    F.cross_entropy(model(images), labels).backward()
    return float(
        torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]))
    )


def calm(name: str, norm: float) -> dict[str, Any]:
    """Rates of plain descent with which the first step is short.

    With four pictures and BatchNorm a deep untrained network can have a gradient of norm 1e6 and a Hessian to match
    (mobilenetv4_hybrid_medium), from which plain descent flies off at its default rates, as it must.
    """
    if name not in ("sgd", "sam", "gr-sgd"):
        return {}
    rates = {"lr": 1e-3 / max(1.0, norm)}
    return rates | {"rho": 1e-4 / max(1.0, norm)} if name == "gr-sgd" else rates


def tensors_with_a_graph() -> int:
    return sum(issubclass(type(thing), Tensor) and thing.grad_fn is not None for thing in gc.get_objects())


def hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks)
        + len(module._forward_pre_hooks)
        + len(module._backward_hooks)
        + len(module._backward_pre_hooks)
        for module in model.modules()
    )


def parts_of(outputs: Any) -> Iterator[Tensor]:
    yield from [outputs] if isinstance(outputs, Tensor) else outputs


def three_steps(model: nn.Module, optimizer: Any, size: int) -> dict[nn.Parameter, float]:
    """Train; return the largest entry of each parameter's gradient over the steps."""
    largest: dict[nn.Parameter, float] = {}
    seen: list[weakref.ref[Tensor]] = []
    watch = model.register_forward_hook(
        lambda module, args, outputs: seen.extend(weakref.ref(part) for part in parts_of(outputs))
    )
    keep = optimizer.register_step_pre_hook(
        lambda *_: largest.update(
            (p, max(largest.get(p, 0.0), float(p.grad.detach().abs().max())))
            for p in model.parameters()
            if p.grad is not None
        )
    )
    for step in range(STEPS):
        assert math.isfinite(take_step(model, optimizer, *pictures(size, step)))
    watch.remove()
    keep.remove()
    gc.collect()
    assert len(seen) >= STEPS
    assert all(part() is None for part in seen), "outputs outlive their step"
    return largest


def _unseen(p: nn.Parameter, largest: dict[nn.Parameter, float]) -> float:
    """Below this a gradient is rounding (the bias before a BatchNorm), or its step too small beside the entries."""
    return max(largest.values()) * max(1e-3, 1e-2 * float(p.detach().abs().min()))


def check(architecture: Architecture, base: nn.Module, variant: Variant, norm: float) -> None:
    model = copy.deepcopy(base)
    before = {p: p.detach().clone() for p in model.parameters()}
    name, given = variant
    optimizer: Any = create_optimizer(name, model, seed=1, **given, **calm(name, norm))
    hooked = hooks(model) - hooks(base)
    try:
        largest = three_steps(model, optimizer, architecture.size)
    except GrngError as error:
        if uses_double_backprop(variant) and is_the_stated_error(error):
            model.zero_grad()
            return
        raise
    names = {p: key for key, p in model.named_parameters()}
    for p, old in before.items():
        assert torch.isfinite(p).all(), names[p]
        if not p.requires_grad:
            assert torch.equal(p, old), f"{names[p]} is frozen and moved"
    stood = [names[p] for p, size in largest.items() if torch.equal(p, before[p]) and size > _unseen(p, largest)]
    if name == "r-kalman":  # its gain S⁻¹ falls with the gradient's square, and entries near 1 cannot hold the step
        stood = [key for key in stood if float(before[model.get_parameter(key)].abs().min()) < 0.5]
    assert not stood, f"have gradients and stood still: {stood}"
    coverage = optimizer.coverage()
    if coverage is not None:
        assert {row.parameter for row in coverage.rows} == {key for p, key in names.items() if p.requires_grad}
        assert all(row.reason for row in coverage.rows if row.rule != coverage.layer_rule)
    assert tensors_with_a_graph() == 0, "a graph outlives the steps"
    optimizer.close()
    assert hooks(model) == hooks(base), f"hooks are left of {hooked}"


@pytest.fixture
def only_new_objects() -> Iterator[None]:
    """Let the collector look at nothing older than the test: it is asked many times."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.usefixtures("only_new_objects")
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)
def test_three_steps_of_every_optimizer(architecture: Architecture) -> None:
    base = architecture.create()
    freeze_some(base)
    small = sum(p.numel() for p in base.parameters()) < SMALL
    norm = gradient_norm(base, architecture.size)
    failures: dict[str, str] = {}
    for label, variant in (VARIANTS | ({"r-kalman, outputs": JACOBIAN} if small else {})).items():
        try:
            check(architecture, base, variant, norm)
        except Exception as error:
            failures[label] = f"{type(error).__name__}: {error}"
    assert not failures, "\n".join(f"{label}: {message}" for label, message in failures.items())
