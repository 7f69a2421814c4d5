from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.diagnostics.measure import Diagnostics
from grng.diagnostics.names import DIAGNOSTICS, DiagnosticName, value_names
from grng.errors import GrngError
from tests.diagnostics.test_sample import Normalised, data, sample_of
from tests.oracles.nets import Squares, flat, mlp

ALL = list(DIAGNOSTICS)


def diagnostics(*names: DiagnosticName, iterations: int = 8) -> Diagnostics:
    return Diagnostics(names, sample_of(*data((5,)), batch=5), loss=F.cross_entropy, iterations=iterations)


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 5, generator=generator, dtype=torch.float64), torch.arange(6) % 3


def backward(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient as any training loop has it."""
    copied = copy.deepcopy(model)
    F.cross_entropy(copied(images), labels).backward()
    return flat([p.grad for p in copied.parameters() if p.grad is not None])


def descend(model: nn.Module, gradient: Tensor, rate: float) -> None:
    with torch.no_grad():
        for p, g in zip(model.parameters(), gradient.split([p.numel() for p in model.parameters()]), strict=True):
            p.sub_(rate * g.reshape(p.shape))


def test_the_values_are_those_of_their_definitions() -> None:
    model = mlp(sizes=(5, 4, 3))
    images, labels = data((5,))
    before, minibatch = backward(model, images, labels), backward(model, *batch(1))
    measurement = diagnostics(*ALL).before(model, lambda: batch(1))
    descend(model, minibatch, 0.3)
    after, following = backward(model, images, labels), backward(model, *batch(2))
    values = measurement.after(model, lambda: batch(2))
    assert list(values) == value_names(ALL)
    assert values["grad_norm"] == pytest.approx(float(after.norm()), rel=1e-10)
    assert values["step_cosine"] == pytest.approx(float(F.cosine_similarity(minibatch, before, dim=0)), rel=1e-8)
    assert values["grad_correlation_sample"] == pytest.approx(np.corrcoef(minibatch, before)[0, 1], rel=1e-10)
    assert values["grad_correlation_consecutive"] == pytest.approx(np.corrcoef(minibatch, following)[0, 1], rel=1e-10)
    sample = sample_of(images, labels, batch=13)
    assert values["hessian_max"] == pytest.approx(sample.largest_eigenvalue(model, iterations=8).value, rel=1e-8)
    assert values["hessian_trace"] == pytest.approx(sample.trace(model, vectors=8).value, rel=1e-8)


def test_the_step_of_gradient_descent_on_the_sample_has_cosine_one() -> None:
    model = mlp(sizes=(5, 4, 3))
    measurement = diagnostics("step_cosine").before(model, lambda: batch(1))
    descend(model, backward(model, *data((5,))), 0.01)
    assert measurement.after(model, lambda: batch(2)) == {"step_cosine": pytest.approx(1.0, abs=1e-12)}
    back = diagnostics("step_cosine").before(model, lambda: batch(1))
    descend(model, backward(model, *data((5,))), -0.01)
    assert back.after(model, lambda: batch(2))["step_cosine"] == pytest.approx(-1.0, abs=1e-12)


def test_a_step_that_moves_nothing_has_no_cosine() -> None:
    model = mlp(sizes=(5, 4, 3))
    measurement = diagnostics("step_cosine").before(model, lambda: batch(1))
    assert math.isnan(measurement.after(model, lambda: batch(2))["step_cosine"])


def test_weights_that_are_no_numbers_give_values_that_are_none() -> None:
    model = mlp(sizes=(5, 4, 3))
    measurement = diagnostics(*ALL).before(model, lambda: batch(1))
    with torch.no_grad():
        model.get_parameter("0.weight")[0, 0] = math.nan
    values = measurement.after(model, lambda: batch(2))
    missing = {name for name, value in values.items() if math.isnan(value)}
    assert missing == set(value_names(ALL)) - {"grad_correlation_sample"}


@pytest.mark.parametrize("name", ALL)
def test_each_can_be_measured_alone(name: DiagnosticName) -> None:
    model = mlp(sizes=(5, 4, 3))
    fetched: list[int] = []

    def fetch(seed: int) -> tuple[Tensor, Tensor]:
        fetched.append(seed)
        return batch(seed)

    measurement = diagnostics(name).before(model, lambda: fetch(1))
    descend(model, torch.ones(39, dtype=torch.float64), 0.01)
    assert list(measurement.after(model, lambda: fetch(2))) == value_names([name])
    needed = {"grad_correlation_sample": [1], "grad_correlation_consecutive": [1, 2]}
    assert fetched == needed.get(name, []), "no batch is fetched that is not needed"


def test_a_minibatch_has_the_models_own_modes_and_random_numbers() -> None:
    model = Normalised()
    torch.manual_seed(3)
    expected = backward(model, *batch(1))
    torch.manual_seed(3)
    found = diagnostics("grad_correlation_sample").minibatch_gradient(model, batch(1))
    assert torch.equal(flat(found), expected)
    torch.manual_seed(4)
    assert not torch.equal(flat(diagnostics().minibatch_gradient(model, batch(1))), expected), "another mask"


def test_the_model_is_left_as_it_was() -> None:
    model: Any = Normalised()
    model.first.weight.grad = torch.ones_like(model.first.weight)
    seen: list[Any] = []
    model.register_forward_hook(lambda *arguments: seen.append(arguments[0]))
    before = copy.deepcopy(model.state_dict())
    diagnostics(*ALL).check(model)
    diagnostics(*ALL).before(model, lambda: batch(1)).after(model, lambda: batch(2))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert torch.equal(model.first.weight.grad, torch.ones_like(model.first.weight))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "first.weight")
    assert all(module is not model for module in seen), "forwards are those of copies"


class NoDoubleBackward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 4).double(), nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(Squares.apply(self.first(x)))
        return out


@pytest.mark.parametrize("name", ["hessian_max", "hessian_trace"])
def test_an_operator_without_double_backward_is_an_error_that_names_the_others(name: DiagnosticName) -> None:
    with pytest.raises(GrngError) as caught:
        diagnostics("grad_norm", name).check(NoDoubleBackward())
    assert caught.value.where == "diagnostics.names"
    assert "has no double backward" in caught.value.message
    assert caught.value.hint == (
        "Choose from grad_norm, step_cosine, grad_correlation_consecutive, grad_correlation_sample."
    )


def test_the_others_work_without_double_backward() -> None:
    names = [name for name, info in DIAGNOSTICS.items() if not info.hessian]
    model, measured = NoDoubleBackward(), diagnostics(*names)
    measured.check(model)
    measurement = measured.before(model, lambda: batch(1))
    descend(model, backward(model, *batch(1)), 0.1)
    assert all(map(math.isfinite, measurement.after(model, lambda: batch(2)).values()))


def test_a_model_that_cannot_be_copied_is_an_error() -> None:
    model = mlp(sizes=(5, 4, 3))
    vars(model)["generator"] = (number for number in range(3))
    with pytest.raises(GrngError, match="this model cannot be copied, and diagnostics are measured on a copy"):
        diagnostics("grad_norm").check(model)
