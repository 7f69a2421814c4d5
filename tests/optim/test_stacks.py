"""Layers and tensors of one shape, stepped together, take the steps that they take one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.optim import stacks
from grng.optim.kfac import KFAC
from grng.optim.reng import RENG
from grng.optim.ring import RING
from grng.optim.stacks import Stack, stacked
from grng.optim.units import partition

SMALL = stacks.SMALL


class Net(nn.Module):
    """Two equal layers of every kind; of the last pair one has no bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolutions = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1, groups=2) for _ in range(2)])
        self.norms = nn.ModuleList([nn.GroupNorm(2, 4) for _ in range(2)])
        self.wide = nn.ModuleList([nn.Linear(16, 16, bias=bias) for bias in (True, True, False)])
        self.head = nn.Linear(16, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        """Return `[batch, 3]` for `[batch, 4, 2, 2]`."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x)).tanh()
        x = x.flatten(1)
        for layer in self.wide:
            x = layer(x).tanh()
        out: Tensor = self.head(x)
        return out


def _train(
    monkeypatch: pytest.MonkeyPatch, small: int, kind: Any, options: dict[str, Any], *, reload: bool = False
) -> list[Tensor]:
    monkeypatch.setattr(stacks, "SMALL", small)
    model = Net()
    optimizer = kind(model, curvature_interval=1, inverse_interval=2, curvature_batch=1.0, **options)
    generator = torch.Generator().manual_seed(1)
    for step in range(6):
        if reload and step == 3:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer.load_state_dict(saved)
        images = torch.randn(8, 4, 2, 2, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 3, (8,), generator=generator)
        outputs = model(images)
        optimizer.observe(outputs, labels)
        F.cross_entropy(outputs, labels).backward(create_graph=optimizer.is_second_order)
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (KFAC, {}),
        (KFAC, {"max_factor_size": 8}),
        (KFAC, {"damping_form": "exact", "eigenvalue_correction": True}),
        (RING, {"other_parameters": "diagonal"}),
        (RING, {"damping_form": "exact", "norm_ema": 0.0}),
        (RENG, {"damping_form": "exact", "max_factor_size": 8}),
    ],
)
def test_stacked_layers_take_the_steps_of_single_ones(
    monkeypatch: pytest.MonkeyPatch, kind: Any, options: dict[str, Any]
) -> None:
    together = _train(monkeypatch, SMALL, kind, options)
    alone = _train(monkeypatch, 0, kind, options)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_loaded_inverses_take_the_place_of_those_that_were_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    straight, resumed = (_train(monkeypatch, SMALL, KFAC, {}, reload=reload) for reload in (False, True))
    for one, other in zip(straight, resumed, strict=True):
        assert torch.equal(one, other)


def test_only_layers_of_one_shape_bias_and_size_are_put_together() -> None:
    model = Net()
    units = partition(model, list(model.parameters()), max_factor_size=None).units
    vectors = {p: p.detach() for p in model.parameters()}
    states: dict[Any, dict[str, Any]] = {unit.key: {} for unit in units}
    sizes = [len(stack.units) for stack in stacked(units, states, vectors)]
    assert sizes == [2, 2, 1, 1, 4]  # convolutions, Linear layers with a bias and without, the head, norms


def test_what_is_gathered_comes_back_by_parameter() -> None:
    model = Net()
    values = {p: torch.randn_like(p).detach() for p in model.parameters()}
    states: dict[Any, dict[str, Any]] = {p: {} for p in values}
    for stack in stacked(partition(model, list(values), max_factor_size=None).units, states, values):
        assert isinstance(stack, Stack)
        for p, value in stack.scatter(stack.gather(values)).items():
            assert torch.equal(value, values.pop(p))
    assert not values
