"""Oracle 13: Sophia-G and Sophia-H against references written from the paper's equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from grng.optim.sophia import Sophia
from tests.oracles.nets import class_batch, flat, mlp, take_step


@pytest.mark.parametrize("estimator", ["gnb", "hutchinson"])
def test_sophia_equals_the_reference(estimator: Any) -> None:
    lr, beta1, beta2, gamma, eps, decay, interval = 0.01, 0.9, 0.95, 0.5, 1e-6, 0.1, 3
    model, twin = mlp(), mlp()
    optimizer = Sophia(
        model,
        lr=lr,
        betas=(beta1, beta2),
        gamma=gamma,
        eps=eps,
        weight_decay=decay,
        hessian_interval=interval,
        estimator=estimator,
        seed=4,
    )
    draws = torch.Generator().manual_seed(4)
    parameters = list(twin.parameters())
    m = [torch.zeros_like(p) for p in parameters]
    h = [torch.zeros_like(p) for p in parameters]
    clipped = unclipped = 0
    for step in range(8):
        inputs, targets = class_batch(seed=step)
        batch, outputs = len(inputs), twin(inputs)
        g = torch.autograd.grad(F.cross_entropy(outputs, targets), parameters, create_graph=True)
        if step % interval == 0:
            if estimator == "gnb":
                uniform = torch.rand(batch, generator=draws, dtype=torch.float64)
                labels = (uniform[:, None] > outputs.detach().softmax(dim=1).cumsum(dim=1)).sum(dim=1)
                sampled = torch.autograd.grad(F.cross_entropy(outputs, labels), parameters, retain_graph=True)
                estimate = [batch * s.square() for s in sampled]
            else:
                u = [torch.randn(p.shape, generator=draws, dtype=torch.float64) for p in parameters]
                estimate = [a * b for a, b in zip(u, torch.autograd.grad(g, parameters, grad_outputs=u), strict=True)]
            h = [beta2 * old + (1 - beta2) * new for old, new in zip(h, estimate, strict=True)]
        m = [beta1 * old + (1 - beta1) * new.detach() for old, new in zip(m, g, strict=True)]
        with torch.no_grad():
            for p, first, second in zip(parameters, m, h, strict=True):
                ratio = first / torch.maximum(gamma * second, torch.tensor(eps, dtype=torch.float64))
                clipped += int((ratio.abs() > 1).sum())
                unclipped += int((ratio.abs() < 1).sum())
                p.mul_(1 - lr * decay).sub_(lr * ratio.clamp(-1, 1))
        take_step(model, optimizer, inputs, targets)
    assert clipped > 0
    assert unclipped > 0
    torch.testing.assert_close(flat(list(model.parameters())), flat(parameters), rtol=1e-9, atol=1e-12)


def test_sophia_g_needs_no_second_order_graph_and_sophia_h_only_when_due() -> None:
    inputs, targets = class_batch()
    cases: list[tuple[Any, list[bool]]] = [("gnb", [False] * 4), ("hutchinson", [True, False, False, True])]
    for estimator, expected in cases:
        model = mlp()
        optimizer = Sophia(model, estimator=estimator, hessian_interval=3)
        seen = []
        for _ in range(4):
            seen.append(optimizer.is_second_order)
            take_step(model, optimizer, inputs, targets)
        assert seen == expected
