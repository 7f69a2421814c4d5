"""R-Kalman's kept rows where they, or the systems they lead to, are no good; parameters in two precisions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.optim.rkalman import RKalman
from grng.optim.rkalman_posterior import Posterior
from tests.oracles.nets import class_batch, mlp, take_step


def scaled(tensor: Tensor) -> Tensor:
    """At root-mean-square 1."""
    return tensor / tensor.square().mean().sqrt()


def state_of(p: nn.Parameter, optimizer: RKalman) -> dict[str, Any]:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in optimizer.state[p].items()}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_rows_that_are_not_finite_are_not_kept_and_counted_and_the_others_are(bad: float) -> None:
    model, lr = mlp(), 0.01
    optimizer = RKalman(model, lr=lr, momentum=0.0, curvature_batch=1.0)
    optimizer.collect_diagnostics = True
    first, head = model.get_parameter("0.weight"), model.get_parameter("2.weight")
    take_step(model, optimizer, *class_batch())
    before, other = state_of(first, optimizer), state_of(head, optimizer)
    weights = first.detach().clone()
    inputs, targets = class_batch(seed=2)
    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    optimizer._filter._gathered._parts[0][1][first][1, 0, 0] = bad  # type: ignore[attr-defined]
    F.cross_entropy(outputs, targets).backward()
    assert first.grad is not None
    vector = first.grad.flatten()
    optimizer.step()
    after = state_of(first, optimizer)
    assert torch.equal(after["rows"], before["rows"])
    assert torch.equal(after["gram"], before["gram"])
    assert (after["filled"], after["block"]) == (before["filled"], before["block"])
    assert optimizer.state[head]["filled"][:2] == [4, 4]
    assert not torch.equal(optimizer.state[head]["rows"], other["rows"])
    assert optimizer.diagnostics()["failed_solves"] == 1.0
    h = before["rows"]  # the step is that of the rows kept so far
    damping = 0.06 * h.square().sum() / 4
    posterior = torch.linalg.inv(damping * torch.eye(len(vector)).double() + h.mT @ h)
    expected = weights - lr * scaled(posterior @ vector).reshape(first.shape)
    torch.testing.assert_close(first.detach(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("large", [slice(None), slice(1)], ids=["all rows", "one row"])
def test_a_system_that_overflows_is_counted_and_the_step_is_the_momentum_s_own(large: slice) -> None:
    model, lr = mlp().float(), 0.01
    optimizer = RKalman(model, lr=lr, curvature_batch=1.0)
    optimizer.collect_diagnostics = True
    inputs, targets = class_batch()
    outputs = model(inputs.float())
    optimizer.observe(outputs, targets)
    first = model.get_parameter("0.weight")
    optimizer._filter._gathered._parts[0][1][first][large].mul_(1e21)  # type: ignore[attr-defined]  # squares overflow
    F.cross_entropy(outputs, targets).backward()
    assert first.grad is not None
    before, vector = first.detach().clone(), first.grad.clone()
    optimizer.step()
    torch.testing.assert_close(first.detach(), before - lr * scaled(vector), rtol=1e-5, atol=1e-6)
    assert optimizer.diagnostics()["failed_solves"] == 1.0


def test_rows_that_come_again_without_a_regulariser_are_projected_out_all_the_same() -> None:
    states: dict[Any, Any] = {p: {} for p in mlp().parameters() if p.dim() == 2}
    torch.manual_seed(0)
    kept = Posterior(states, rho=0.0, rows=2, memory=3)
    rows = {p: torch.randn(2, *p.shape).double() for p in states}
    vectors = {p: torch.randn_like(p).detach() for p in states}
    for _ in range(3):
        steps = kept.steps(vectors, rows, [1, 1])
    assert kept.failed == 0
    for p, vector in vectors.items():
        h = rows[p].flatten(1)
        outside = vector.flatten() - torch.linalg.pinv(h) @ (h @ vector.flatten())
        torch.testing.assert_close(steps[p].flatten(), -outside, rtol=1e-5, atol=1e-7)


def test_a_parameter_without_rows_steps_against_its_vector() -> None:
    first, second = nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(2, 2))
    kept = Posterior({first: {}, second: {}}, rho=0.5, rows=2, memory=1)
    torch.manual_seed(0)
    vectors = {first: torch.randn(3, 4), second: torch.randn(2, 2)}
    steps = kept.steps(vectors, {first: torch.randn(1, 3, 4)}, [1])
    assert torch.equal(steps[second], -vectors[second])
    assert not torch.equal(steps[first], -vectors[first])


def test_layers_in_two_precisions_step_as_each_would_alone() -> None:
    def trained(*kinds: torch.dtype) -> list[Tensor]:
        model = mlp()
        for module, kind in zip([model[0], model[2]], kinds, strict=True):
            module.to(kind)
        model[1].register_forward_hook(lambda module, args, output: output.to(kinds[1]))
        optimizer = RKalman(model, curvature_batch=1.0, seed=2)
        for step in range(3):
            inputs, targets = class_batch(seed=step)
            take_step(model, optimizer, inputs.to(kinds[0]), targets)
        for module, kind in zip([model[0], model[2]], kinds, strict=True):
            assert isinstance(module, nn.Linear)
            assert optimizer.state[module.weight]["rows"].dtype == kind
        return [p.detach().double() for p in model.parameters()]

    exact, mixed = trained(torch.float64, torch.float64), trained(torch.float32, torch.float64)
    for one, other in zip(mixed, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
