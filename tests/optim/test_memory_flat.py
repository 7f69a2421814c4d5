"""Memory and hooks stay as they are over many steps with evaluations between; nothing global is changed."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.optim.test_contract import CNN, VARIANTS, make
from tests.optim.test_copies import hooks
from tests.oracles.nets import SmallAttention, SmallCNN, class_batch, flat, mlp, take_step


class Saved:
    """A tensor that an autograd graph has saved for its backward: alive as long as the graph is."""

    alive: ClassVar[weakref.WeakSet[Saved]] = weakref.WeakSet()

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # the tensor itself would hold the graph that holds it
        Saved.alive.add(self)


@pytest.fixture
def _only_new_objects() -> Iterator[None]:
    """Set aside all that exists, so that counting what is alive is quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def live() -> tuple[int, int, int]:
    """Tensors that Python knows, their bytes, and tensors that graphs hold."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if type(found) in (Tensor, nn.Parameter)]
    return len(tensors), sum(t.numel() * t.element_size() for t in tensors), len(Saved.alive)


@pytest.mark.usefixtures("_only_new_objects")
@pytest.mark.parametrize("steps", [40, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_memory_is_flat_with_evaluations_between(variant: str, steps: int) -> None:
    model = mlp()
    optimizer = make(variant, model)
    optimizer.collect_diagnostics = steps > 40

    def train(count: int) -> None:
        for step in range(count):
            take_step(model, optimizer, *class_batch(seed=step % 7))
            if step % 5 == 0:
                model.eval()
                with torch.no_grad():
                    model(class_batch()[0])
                model(class_batch()[0]).sum()  # with a graph that nobody uses
                model.train()

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        train(20)
        before = live(), hooks(model)
        train(steps - 20)
    assert (live(), hooks(model)) == before
    assert before[0][2] == 0


@pytest.mark.usefixtures("_only_new_objects")
def test_the_measure_sees_a_graph_that_is_kept() -> None:
    model = mlp()
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        start = live()
        kept = model(class_batch()[0])
        assert [now > then for now, then in zip(live(), start, strict=True)] == [True, True, True]
    del kept
    assert live() == start


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_nothing_global_is_changed(variant: str) -> None:
    def state() -> dict[str, Any]:
        return {
            "filters": list(warnings.filters),
            "random": torch.get_rng_state().tolist(),
            "gradients": torch.is_grad_enabled(),
            "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
            "attention": [torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()],
            "math attention": torch.backends.cuda.math_sdp_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "dtype": torch.get_default_dtype(),
            "matmul": torch.get_float32_matmul_precision(),
            "threads": torch.get_num_threads(),
            "modules": set(vars(nn.Module)),
        }

    model = SmallAttention()
    before = state()
    optimizer = make(variant, model)
    for step in range(3):
        take_step(model, optimizer, *class_batch(features=(5, 4), classes=3, seed=step))
        assert state() == before
    optimizer.close()
    assert state() == before


@pytest.mark.parametrize("due", [True, False])
def test_the_math_backend_is_on_within_the_models_forward_only(due: bool) -> None:
    seen: list[bool] = []

    class Looks(SmallAttention):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.backends.cuda.flash_sdp_enabled())
            out: Tensor = super().forward(x)
            return out

    model = Looks()
    optimizer = make("reng", model, **({} if due else {"rho": 0.0}))
    model(class_batch(features=(5, 4), classes=3)[0])
    assert seen == [not due]
    assert torch.backends.cuda.flash_sdp_enabled()
    optimizer.close()


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_two_optimizers_on_two_models_are_each_as_if_alone(variant: str) -> None:
    def batch(step: int) -> tuple[Tensor, Tensor]:
        return class_batch(seed=step, **CNN)

    alone = []
    for seed in (0, 3):
        model = SmallCNN(seed=seed)
        optimizer = make(variant, model, seed=seed)
        for step in range(4):
            take_step(model, optimizer, *batch(step + seed))
        alone.append(flat(list(model.parameters())))
    models = [SmallCNN(seed=seed) for seed in (0, 3)]
    optimizers = [make(variant, model, seed=seed) for model, seed in zip(models, (0, 3), strict=True)]
    for step in range(4):
        for model, optimizer, seed in zip(models, optimizers, (0, 3), strict=True):
            take_step(model, optimizer, *batch(step + seed))
    assert all(torch.equal(flat(list(m.parameters())), a) for m, a in zip(models, alone, strict=True))


@pytest.mark.parametrize("variant", ["ring", "reng", "r-kalman", "r-kalman, samples", "sophia-h"])
def test_two_optimizers_on_two_parts_of_one_model_each_step_their_own(variant: str) -> None:
    model = SmallCNN()
    body = [p for name, p in model.named_parameters() if not name.startswith("head")]
    first: Any = make(variant, model, params=body)
    second: Any = make("adamw", model, params=model.head.parameters())
    inputs, targets = class_batch(**CNN)
    before = flat(body), flat(list(model.head.parameters()))
    outputs = model(inputs)
    first.observe(outputs, targets)
    second.observe(outputs, targets)
    nn.functional.cross_entropy(outputs, targets).backward(create_graph=first.is_second_order)
    first.step()
    assert torch.equal(flat(list(model.head.parameters())), before[1])
    second.step()
    assert not torch.equal(flat(body), before[0])
    assert not torch.equal(flat(list(model.head.parameters())), before[1])
