"""Wide factors in diagonal blocks: the same as K-FAC with the other entries of A and G set to zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature.factor_blocks import count_blocks
from grng.curvature.kronecker import damping_split
from grng.optim.kfac import KFAC
from tests.oracles.nets import class_batch, flat, step_of, take_step

LAMBDA = 0.03
PLAIN: dict[str, Any] = {
    "lr": 1.0,
    "damping": LAMBDA,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "kl_clip": None,
    "fisher": "exact",
    "curvature_interval": 1,
    "curvature_batch": 1.0,
    "inverse_interval": 1,
}


@pytest.mark.parametrize(
    ("features", "unit", "limit", "blocks"),
    [
        (768, 1, 768, 1),
        (769, 1, None, 1),
        (1728, 9, 768, 3),
        (864, 9, 768, 2),
        (3072, 1, 768, 4),
        (4608, 9, 768, 8),  # 512 channels: 64 a block
        (25_088, 1, 768, 49),
        (1009, 1, 768, None),  # a prime
        (7 * 7 * 64, 49 * 64, 768, None),
    ],
)
def test_the_fewest_equal_blocks_of_whole_channels(features: int, unit: int, limit: int | None, blocks: int) -> None:
    assert count_blocks(features, unit, limit) == blocks


class Wide(nn.Module):
    """A convolution (two groups) and two Linear layers, of which factors are wider than 8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(8, 24, (2, 1), groups=2)
        self.hidden = nn.Linear(24, 16)
        self.head = nn.Linear(16, 3, bias=False)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.hidden(torch.tanh(self.conv(x)).mean(dim=(2, 3)))))
        return out


def block_diagonal(factor: Tensor, blocks: int, *, bias: bool) -> Tensor:
    """Set to zero what is outside of the blocks (the bias, at the end, is one of its own)."""
    size = (factor.shape[-1] - bias) // blocks
    mask = torch.block_diag(*(torch.ones(size, size) for _ in range(blocks)), *[torch.ones(1, 1)] * bias)
    cut: Tensor = factor * mask.to(factor)
    return cut


def gradients(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters())))


@pytest.mark.parametrize("form", ["factored", "exact"])
@pytest.mark.parametrize("corrected", [False, True])
def test_a_step_with_blocks_is_the_dense_solve_with_block_diagonal_factors(form: str, corrected: bool) -> None:
    if corrected and form == "factored":
        pytest.skip("the factored form has no eigenvalues to correct")
    inputs, targets = class_batch(features=(8, 3, 3), classes=3)
    full = Wide()
    whole: Any = KFAC(full, **{**PLAIN, "lr": 0.0}, max_factor_size=None)
    take_step(full, whole, inputs, targets)
    factors = {
        layer.name: (whole.state[layer.weight]["A"], whole.state[layer.weight]["G"])
        for layer in whole._partition.layers
    }
    model = Wide()
    options: dict[str, Any] = {"damping_form": form, "eigenvalue_correction": corrected}
    optimizer: Any = KFAC(model, **PLAIN, **options, max_factor_size=8)
    found = gradients(model, inputs, targets)
    moved = step_of(model, optimizer, inputs, targets)
    by_parameter = dict(zip(model.parameters(), zip(found, moved, strict=True), strict=True))
    seen = []
    for layer in optimizer._partition.layers:
        seen.append((layer.input_blocks, layer.output_blocks))
        state = optimizer.state[layer.weight]
        a, g = (factor / (1.0 - optimizer.settings.ema) for factor in factors[layer.name])
        own = [by_parameter[p] for p in layer.parameters]
        cut = layer.input_blocks > 1
        for group in range(layer.groups):
            a_cut = block_diagonal(a[group], layer.input_blocks, bias=cut and layer.bias is not None)
            g_cut = block_diagonal(g[group], layer.output_blocks, bias=False)
            gradient, step = (
                torch.cat([one[which].reshape(layer.groups, layer.output_size, -1)[group] for one in own], dim=1)
                for which in (0, 1)
            )
            if form == "factored":
                without = a_cut[:-1, :-1] if cut and layer.bias is not None else a_cut
                pi = float(damping_split(without[None], g_cut[None], 1))
                a_damped = a_cut + pi * LAMBDA**0.5 * torch.eye(len(a_cut), dtype=a.dtype)
                g_damped = g_cut + LAMBDA**0.5 / pi * torch.eye(len(g_cut), dtype=g.dtype)
                expected = -torch.linalg.solve(g_damped, gradient) @ torch.linalg.inv(a_damped)
            elif not corrected:
                dense = torch.kron(g_cut, a_cut) + LAMBDA * torch.eye(gradient.numel(), dtype=a.dtype)
                expected = -torch.linalg.solve(dense, gradient.reshape(-1)).reshape(gradient.shape)
            else:
                u_a = torch.block_diag(
                    *state["A_vectors"].reshape(layer.groups, layer.input_blocks, *state["A_vectors"].shape[1:])[group],
                    *[torch.ones(1, 1, dtype=a.dtype)] * (cut and layer.bias is not None),
                )
                u_g = torch.block_diag(
                    *state["G_vectors"].reshape(layer.groups, layer.output_blocks, *state["G_vectors"].shape[1:])[group]
                )
                s = state["eigenvalues"][group] / (1.0 - optimizer.settings.ema)
                expected = -u_g @ ((u_g.mT @ gradient @ u_a) / (s + LAMBDA)) @ u_a.mT
            torch.testing.assert_close(step, expected, rtol=1e-8, atol=1e-11)
    assert seen == [(1, 2), (3, 2), (2, 1)]


def test_eigenvalues_are_measured_in_the_blocks_bases() -> None:
    model = Wide()
    inputs, targets = class_batch(features=(8, 3, 3), classes=3)
    optimizer: Any = KFAC(
        model, **{**PLAIN, "fisher": "empirical"}, damping_form="exact", eigenvalue_correction=True, max_factor_size=8
    )
    rows = []
    for b in range(len(inputs)):
        rows.append(gradients(model, inputs[b : b + 1], targets[b : b + 1]))
    take_step(model, optimizer, inputs, targets)
    layer = next(layer for layer in optimizer._partition.layers if layer.name == "hidden")
    state = optimizer.state[layer.weight]
    u_a = torch.block_diag(*state["A_vectors"], torch.ones(1, 1, dtype=torch.float64))
    u_g = torch.block_diag(*state["G_vectors"])
    each = [torch.cat([row[2], row[3][:, None]], dim=1) for row in rows]
    expected = torch.stack([(u_g.mT @ m @ u_a).square() for m in each]).mean(dim=0)
    found = state["eigenvalues"][0] / (1.0 - optimizer.settings.ema)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("corrected", [False, True])
def test_training_goes_on_across_refreshes(corrected: bool) -> None:
    model = Wide()
    optimizer = KFAC(
        model,
        lr=0.05,
        max_factor_size=8,
        damping_form="exact" if corrected else "factored",
        eigenvalue_correction=corrected,
        inverse_interval=2,
        curvature_interval=1,
    )
    inputs, targets = class_batch(features=(8, 3, 3), classes=3, batch=24)
    losses = [take_step(model, optimizer, inputs, targets) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    assert flat(list(model.parameters())).isfinite().all()


def test_blocks_are_named_in_the_coverage() -> None:
    coverage = KFAC(Wide(), max_factor_size=8).coverage()
    notes = {row.parameter: row.reason for row in coverage.rows}
    assert notes["hidden.bias"] == "A in 3 diagonal blocks, G in 2 diagonal blocks"
    assert coverage.summary() == "3 of 3 layers, 100.0 % of parameters Kronecker (3 with factors in blocks)"
