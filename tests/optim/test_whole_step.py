"""Whole steps against a reference written from the equations: every factor of the update at once, over several steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.optim.kfac import KFAC
from grng.optim.reng import RENG
from grng.optim.ring import RING
from tests.oracles.nets import class_batch, take_step

LR, DECAY, MOMENTUM, LAMBDA, EMA, OTHER_LR, BATCH = 0.07, 0.1, 0.9, 0.02, 0.9, 0.03, 6
RHO, NORM_EMA = 0.5, 0.8


class Net(nn.Module):
    """Two layers with Kronecker factors and a parameter without."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.scale, self.second = nn.Linear(5, 4), nn.Parameter(torch.ones(4)), nn.Linear(4, 3, bias=False)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.tanh(self.first(x)) * self.scale)
        return out


class Reference:
    """K-FAC, RING with layer scope, or RENG: factored damping, every statistic at every step."""

    def __init__(self, name: str, form: str, rms: bool, adamw: bool, kappa: float | None) -> None:
        self.name, self.form, self.rms, self.adamw, self.kappa = name, form, rms, adamw, kappa
        self.net, self.t = Net(), 0
        self.draws = torch.Generator().manual_seed(3)
        self.store: dict[str, Any] = {}

    def average(self, key: str, value: Tensor, decay: float) -> Tensor:
        self.store[key] = decay * self.store.get(key, torch.zeros_like(value)) + (1 - decay) * value
        corrected: Tensor = self.store[key] / (1 - decay**self.t)
        return corrected

    def vector(self, key: str, gradient: Tensor) -> Tensor:
        if self.form != "gradient":
            return gradient
        m: Tensor = MOMENTUM * self.store.get(key, torch.zeros_like(gradient)) + (1 - MOMENTUM) * gradient
        self.store[key] = m
        return MOMENTUM * m + (1 - MOMENTUM) * gradient

    def damping(self, key: str, gradient: Tensor) -> Tensor:
        if self.name != "ring":
            return torch.tensor(LAMBDA, dtype=torch.float64)
        norm: Tensor = self.average(f"{key} norm", gradient.square().sum(), NORM_EMA)
        damped: Tensor = LAMBDA + RHO * norm
        return damped

    def step(self, x: Tensor, y: Tensor) -> None:
        self.t += 1
        net = self.net
        hidden = torch.tanh(net.first(x)) * net.scale
        pre, out = net.first(x), net(x)
        w1, b1, s, w2 = net.first.weight, net.first.bias, net.scale, net.second.weight
        g = torch.autograd.grad(F.cross_entropy(out, y), [w1, b1, s, w2], create_graph=True)
        if self.name == "reng":
            penalty = 0.5 * RHO * torch.stack([part.square().sum() for part in g]).sum()
            extra = torch.autograd.grad(penalty, [w1, b1, s, w2])
            g = tuple(part + more for part, more in zip(g, extra, strict=True))
        g = tuple(part.detach() for part in g)
        uniform = torch.rand(BATCH, generator=self.draws, dtype=torch.float64)
        labels = (uniform[:, None] > out.detach().softmax(dim=1).cumsum(dim=1)).sum(dim=1)
        pre = net.first(x)
        loss = F.cross_entropy(net.second(torch.tanh(pre) * s), labels, reduction="sum")
        e1, e_s = torch.autograd.grad(loss, [pre, s])
        out2 = net(x)
        e2 = torch.autograd.grad(F.cross_entropy(out2, labels, reduction="sum"), out2)[0]
        ones = torch.ones(BATCH, 1, dtype=torch.float64)
        a1, a2 = torch.cat([x, ones], dim=1), hidden.detach()
        gradients = {"1": torch.cat([g[0], g[1][:, None]], dim=1), "2": g[3]}
        directions: dict[str, Tensor] = {}
        vectors: dict[str, Tensor] = {}
        for key, a, e in (("1", a1, e1), ("2", a2, e2)):
            a_hat = self.average(f"A{key}", a.mT @ a / BATCH, EMA)
            g_hat = self.average(f"G{key}", e.mT @ e / BATCH, EMA)
            pi = ((a_hat.trace() / len(a_hat)) / (g_hat.trace() / len(g_hat))).sqrt()
            root = self.damping(key, gradients[key]).sqrt()
            vectors[key] = self.vector(f"m{key}", gradients[key])
            g_damped = g_hat + root / pi * torch.eye(len(g_hat), dtype=torch.float64)
            a_damped = a_hat + pi * root * torch.eye(len(a_hat), dtype=torch.float64)
            directions[key] = -torch.linalg.inv(g_damped) @ vectors[key] @ torch.linalg.inv(a_damped)
        if not self.adamw:
            fisher = self.average("d", e_s.square() / BATCH, EMA)
            vectors["s"] = self.vector("ms", g[2])
            directions["s"] = -vectors["s"] / (fisher + self.damping("s", g[2]))
        if self.rms:
            directions = {key: d / d.square().mean().sqrt() for key, d in directions.items()}
        if self.kappa is not None:
            fall = -(LR**2) * sum(float((directions[key] * vectors[key]).sum()) for key in directions)
            directions = {key: d * min(1.0, (self.kappa / fall) ** 0.5) for key, d in directions.items()}
        if self.form == "step":
            for key, d in directions.items():
                self.store[f"step{key}"] = MOMENTUM * self.store.get(f"step{key}", torch.zeros_like(d)) + d
            directions = {key: self.store[f"step{key}"] for key in directions}
        with torch.no_grad():
            w1.mul_(1 - LR * DECAY).add_(LR * directions["1"][:, :-1])
            b1.mul_(1 - LR * DECAY).add_(LR * directions["1"][:, -1])
            w2.mul_(1 - LR * DECAY).add_(LR * directions["2"])
            if self.adamw:
                m = self.store["am"] = 0.9 * self.store.get("am", torch.zeros_like(s)) + 0.1 * g[2]
                v = self.store["av"] = 0.999 * self.store.get("av", torch.zeros_like(s)) + 0.001 * g[2] ** 2
                m_hat, v_hat = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
                s.mul_(1 - OTHER_LR * DECAY).sub_(OTHER_LR * m_hat / (v_hat.sqrt() + 1e-8))
            else:
                s.mul_(1 - LR * DECAY).add_(LR * directions["s"])


CASES: dict[str, dict[str, Any]] = {
    "classical": {"form": "step", "rms": False, "adamw": False, "kappa": 1e-3},
    "classical, unclipped, Nesterov": {"form": "gradient", "rms": False, "adamw": False, "kappa": None},
    "normalised": {"form": "gradient", "rms": True, "adamw": True, "kappa": None},
    "normalised, momentum of the step": {"form": "step", "rms": True, "adamw": False, "kappa": None},
    "clipped with AdamW": {"form": "gradient", "rms": False, "adamw": True, "kappa": 1e-3},
}


@pytest.mark.parametrize("name", ["kfac", "ring", "reng"])
@pytest.mark.parametrize("case", list(CASES))
def test_five_steps_equal_the_reference(case: str, name: str) -> None:
    options = CASES[case]
    reference = Reference(name, **options)
    shared: dict[str, Any] = {
        "lr": LR,
        "weight_decay": DECAY,
        "momentum": MOMENTUM,
        "damping": LAMBDA,
        "ema": EMA,
        "curvature_interval": 1,
        "curvature_batch": 1.0,
        "inverse_interval": 1,
        "kl_clip": options["kappa"],
        "step_norm": "rms" if options["rms"] else "none",
        "momentum_form": options["form"],
        "other_parameters": "adamw" if options["adamw"] else "diagonal",
        "other_lr": OTHER_LR if options["adamw"] else None,
        "seed": 3,
    }
    model = Net()
    optimizer: KFAC | RING | RENG
    if name == "kfac":
        optimizer = KFAC(model, **shared)
    elif name == "ring":
        optimizer = RING(model, **shared, rho=RHO, norm_ema=NORM_EMA)
    else:
        optimizer = RENG(model, **shared, rho=RHO)
    for step in range(5):
        x, y = class_batch(classes=3, batch=BATCH, seed=step)
        reference.step(x, y)
        take_step(model, optimizer, x, y)
    for (key, mine), theirs in zip(model.named_parameters(), reference.net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11, msg=key)
