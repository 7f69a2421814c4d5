"""Oracles 19 and 20, `torch.compile`: the steps are those of the uncompiled model, or the error says what to choose.

The default tier compiles with `aot_eager` (tracing and autograd as always, no code generation); `slow` generates code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._functorch.config
from torch import Tensor, nn
from torch.nn import functional as F

from grng.errors import GrngError
from tests.optim.test_contract import VARIANTS, make
from tests.oracles.nets import SmallAttention, SmallCNN, class_batch, flat, take_step

# the compiler looks at `.grad` of tensors between two graphs, and hides the warning by means that warnings as errors elude
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

DOUBLE_BACKPROP = ["reng", "gr-sgd", "sophia-h"]
ALIKE = ["reng, corrected", "gr-adamw"]  # double backprop as in others
LATER = ["reng, every third step", "gr-adamw, every third step"]  # not in the first steps
WORKING = [v for v in VARIANTS if not v.startswith("timm:") and v not in (*DOUBLE_BACKPROP, *ALIKE)]
NETS: dict[str, Any] = {"cnn": (SmallCNN, (2, 9, 8)), "attention": (SmallAttention, (5, 4))}


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    with torch._functorch.config.patch(donated_buffer=False):
        yield
    torch.compiler.reset()


def compiled(model: nn.Module, backend: str = "aot_eager") -> Any:
    return torch.compile(model, backend=backend)


def after_steps(
    variant: str, net: str, *, order: str, steps: int = 5, backend: str = "aot_eager"
) -> tuple[Tensor, Tensor]:
    """All weights after the first step and after the last, the steps with fresh data each."""
    make_net, features = NETS[net]
    model: nn.Module = make_net()
    trained: Any = model
    if order == "hooks after, on the compiled model":
        trained = compiled(model, backend)
        optimizer = make(variant, trained)
    elif order == "hooks after, on the original":
        trained = compiled(model, backend)
        optimizer = make(variant, model)
    else:
        optimizer = make(variant, model)
        trained = compiled(model, backend) if order == "hooks before" else model
    first = None
    for seed in range(steps):
        take_step(trained, optimizer, *class_batch(features=features, classes=3, seed=seed))
        first = flat(list(model.parameters())) if first is None else first
    assert first is not None
    return first, flat(list(model.parameters()))


ORDERS = ["hooks before", "hooks after, on the original", "hooks after, on the compiled model"]


QUICK = ["adamw", "ring", "sophia-g", "sam", "reng, finite difference", "r-kalman, samples", "r-kalman, outputs"]
QUICK += ["r-kalman"]
EVERY_ORDER = ["ring", "sam"]  # in the default tier


def _is_quick(variant: str, net: str, order: str) -> bool:
    return variant in QUICK and net == "attention" and (order == ORDERS[0] or variant in EVERY_ORDER)


CASES = [
    pytest.param(variant, net, order, marks=[] if _is_quick(variant, net, order) else [pytest.mark.slow])
    for variant in WORKING
    for net in NETS
    for order in ORDERS
]


@pytest.mark.parametrize(("variant", "net", "order"), CASES)
def test_steps_of_a_compiled_model_are_those_of_the_original(variant: str, net: str, order: str) -> None:
    expected = after_steps(variant, net, order="uncompiled")
    found = after_steps(variant, net, order=order)
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("net", list(NETS))
@pytest.mark.parametrize("variant", ["kfac", "ring", "sophia-g", "sam", "reng, finite difference", "r-kalman, outputs"])
def test_steps_of_generated_code_are_those_of_the_original(variant: str, net: str) -> None:
    expected = after_steps(variant, net, order="uncompiled")
    found = after_steps(variant, net, order="hooks before", backend="inductor")
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-9)  # Sophia divides by what may be near 0
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-8)


@pytest.mark.parametrize("variant", DOUBLE_BACKPROP)
def test_double_backprop_names_what_to_choose(variant: str) -> None:
    model = SmallAttention()
    optimizer = make(variant, model)
    choice = "sophia-g" if variant == "sophia-h" else "hvp=finite_difference"
    with pytest.raises(GrngError, match=f"a compiled model has no double backward. Choose {choice}"):
        take_step(compiled(model), optimizer, *class_batch(features=(5, 4), classes=3))
    assert all(p.grad is None or not p.grad.requires_grad for p in model.parameters())


@pytest.mark.parametrize("variant", ["ring", "sam", "reng, finite difference", "r-kalman", "r-kalman, samples", *LATER])
def test_nothing_is_compiled_anew_after_the_first_step(variant: str) -> None:
    model = SmallAttention()
    optimizer = make(variant, model)
    trained = compiled(model)
    take_step(trained, optimizer, *class_batch(features=(5, 4), classes=3))
    with torch.compiler.set_stance("fail_on_recompile"):
        for seed in range(5):  # curvature is due in every fourth step only
            take_step(trained, optimizer, *class_batch(features=(5, 4), classes=3, seed=seed))


def test_a_model_compiled_for_a_single_backward_says_what_to_set() -> None:
    with torch._functorch.config.patch(donated_buffer=True):
        model = SmallCNN()
        trained = compiled(model)
        inputs, targets = class_batch(features=(2, 9, 8), classes=3)
        F.cross_entropy(trained(inputs), targets).backward()
        optimizer = make("sophia-g", model)
        with pytest.raises(GrngError, match="donated_buffer = False"):
            take_step(trained, optimizer, inputs, targets)


class OneAtATime(torch.autograd.Function):
    """A product with a backward that cannot be run for many cotangents at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, w = ctx.saved_tensors
        out = torch.empty(gradient.shape[1], x.shape[1], dtype=x.dtype)
        torch.mm(gradient.T, x, out=out)
        return gradient @ w, out


def test_outputs_are_observed_one_by_one_where_they_cannot_be_at_once() -> None:
    class Net(nn.Module):
        def __init__(self, plain: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weight, self.plain = nn.Parameter(torch.randn(4, 5, dtype=torch.float64)), plain

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x @ self.weight.T if self.plain else OneAtATime.apply(x, self.weight)
            return out

    found = []
    for plain in (True, False):
        model = Net(plain)
        take_step(model, make("r-kalman, outputs", model), *class_batch())
        found.append(model.weight.detach())
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)
