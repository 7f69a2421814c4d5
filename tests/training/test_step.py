from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grng.training.clock import StepClock
from grng.training.contract import TrainableOptimizer
from grng.training.step import train_step


class Recording(torch.optim.SGD):
    """SGD with the needs that a test gives it; writes down what the trainer does."""

    def __init__(self, model: nn.Module, *, is_second_order: bool = False, needs_closure: bool = False) -> None:
        super().__init__(model.parameters(), lr=0.1)
        self.is_second_order = is_second_order
        self.needs_closure = needs_closure
        self.gradient_factor = 1.0
        self.synchronise = True
        self.collect_diagnostics = False
        self.calls: list[str] = []
        self.observed: tuple[Tensor, Tensor] | None = None
        self.gradient_has_graph = False
        self.recomputed: list[Tensor] = []
        self.collected: list[bool] = []

    def observe(self, outputs: Tensor, targets: Tensor) -> None:
        self.calls.append("observe")
        self.collected.append(self.collect_diagnostics)
        assert outputs.grad_fn is not None
        assert all(p.grad is None for group in self.param_groups for p in group["params"])
        self.observed = (outputs.detach().clone(), targets)

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        self.calls.append("step" if closure is None else "step(closure)")
        weights = [p for group in self.param_groups for p in group["params"]]
        self.gradient_has_graph = weights[0].grad.grad_fn is not None
        if closure is not None:
            before = [p.grad.clone() for p in weights]
            loss = closure()
            self.recomputed = [loss, *(p.grad.clone() for p in weights)]
            for p, gradient in zip(weights, before, strict=True):
                p.grad = gradient
        super().step()

    def average_gradients(self) -> None:
        self.calls.append("average_gradients")

    def diagnostics(self) -> dict[str, float]:
        return {}

    def coverage(self) -> None:
        return None

    def close(self) -> None:
        self.calls.append("close")


class Token:
    """Something that a node of a graph holds."""


class Mark(torch.autograd.Function):
    """x + shift, with a token held by the graph's node."""

    tokens: ClassVar[list[weakref.ref[Token]]] = []

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor) -> Tensor:
        ctx.token = Token()
        Mark.tokens.append(weakref.ref(ctx.token))
        ctx.save_for_backward(shift)
        return x + shift

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (shift,) = ctx.saved_tensors
        return gradients[0], gradients[0].sum(dim=0) + 0 * shift


class Marked(nn.Module):
    """`Mark` as a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        return Mark.apply(x, self.shift)  # type: ignore[no-any-return]


class Net(nn.Module):
    """Two layers with BatchNorm and dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(5, 8), nn.BatchNorm1d(8)
        self.dropout, self.last = nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.dropout(torch.tanh(self.norm(self.first(x)))))  # type: ignore[no-any-return]


@pytest.fixture
def model() -> Net:
    torch.manual_seed(0)
    return Net().train()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 5, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def clock() -> StepClock:
    return StepClock(torch.device("cpu"))


def test_a_step_is_what_a_plain_loop_does(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    twin = Net()
    twin.load_state_dict(model.state_dict())
    optimizer, plain = Recording(model), torch.optim.SGD(twin.parameters(), lr=0.1)
    torch.manual_seed(7)
    outcomes = [train_step(model, optimizer, lambda: batch, clock()) for _ in range(3)]
    torch.manual_seed(7)
    losses = []
    for _ in range(3):
        loss = F.cross_entropy(twin(batch[0]), batch[1])
        plain.zero_grad()
        torch.autograd.backward(loss)
        plain.step()
        losses.append(loss.item())
    assert [outcome.loss for outcome in outcomes] == losses
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
    assert optimizer.calls == ["observe", "step"] * 3


@pytest.mark.parametrize("is_second_order", [False, True])
def test_the_gradients_have_a_graph_only_where_it_is_needed(
    model: Net, batch: tuple[Tensor, Tensor], is_second_order: bool
) -> None:
    optimizer = Recording(model, is_second_order=is_second_order)
    train_step(model, optimizer, lambda: batch, clock())
    assert optimizer.gradient_has_graph is is_second_order


@pytest.mark.parametrize("is_second_order", [False, True])
def test_no_graph_survives_the_step(model: Net, batch: tuple[Tensor, Tensor], is_second_order: bool) -> None:
    Mark.tokens.clear()
    hooked = nn.Sequential(Marked(), model)
    train_step(hooked, Recording(hooked, is_second_order=is_second_order), lambda: batch, clock())
    assert len(Mark.tokens) == 1
    assert Mark.tokens[0]() is None, "a token lives as long as its node of the graph"
    assert all(p.grad is None for p in model.parameters())


def test_the_closure_recomputes_the_same_loss_under_the_same_dropout(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    optimizer = Recording(model, needs_closure=True)
    torch.manual_seed(3)
    outcome = train_step(model, optimizer, lambda: batch, clock())
    after_with = torch.rand(3)
    assert optimizer.calls == ["observe", "step(closure)"]
    assert optimizer.recomputed[0].item() == outcome.loss
    assert optimizer.recomputed[0].grad_fn is None

    torch.manual_seed(0)
    twin = Net().train()
    other = Recording(twin)
    torch.manual_seed(3)
    train_step(twin, other, lambda: batch, clock())
    assert torch.equal(torch.rand(3), after_with), "the closure draws nothing from the run's stream"
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), twin.buffers(), strict=True)), "nor counts as a batch"


@pytest.mark.parametrize("collect", [False, True])
def test_accuracy_and_diagnostics_only_when_asked(model: Net, batch: tuple[Tensor, Tensor], collect: bool) -> None:
    optimizer = Recording(model)
    outcome = train_step(model, optimizer, lambda: batch, clock(), collect=collect)
    assert optimizer.collected == [collect]
    assert optimizer.observed is not None
    expected = (optimizer.observed[0].argmax(1) == batch[1]).float().mean().item()
    assert outcome.accuracy == (pytest.approx(expected) if collect else None)


def test_a_loss_that_is_no_number_changes_nothing(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    optimizer = Recording(model)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    outcome = train_step(model, optimizer, lambda: (batch[0] * math.nan, batch[1]), clock())
    assert math.isnan(outcome.loss)
    assert not outcome.finite
    assert optimizer.calls == []
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())


def test_every_phase_is_charged(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    measured = clock()
    train_step(model, Recording(model), lambda: batch, measured)
    timing = measured.timing()
    assert all(timing[f"{phase}_ms"] > 0 for phase in ("data", "forward", "observe", "backward", "optimizer"))


def test_the_protocol_is_met_by_the_recording_optimizer(model: Net) -> None:
    optimizer: TrainableOptimizer = Recording(model)
    assert optimizer.param_groups[0]["lr"] == 0.1
