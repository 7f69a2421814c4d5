"""What a parameter group sets holds for its parameters, and for no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grng.optimizers import create_optimizer
from tests.oracles.nets import class_batch, mlp, take_step

# Under these settings layers do not meet: no trust region, no common norm.
ALONE: dict[str, Any] = {"kl_clip": None, "curvature_interval": 1, "inverse_interval": 1, "step_norm": "none"}
KALMAN_LOSS: dict[str, Any] = {"observation": "loss"}
KALMAN_LAYER: dict[str, Any] = {}  # its default
CASES: list[tuple[str, dict[str, Any], str, Any]] = [
    ("kfac", ALONE, "lr", 0.03),
    ("kfac", ALONE, "weight_decay", 0.7),
    ("kfac", ALONE, "momentum", 0.3),
    ("kfac", {**ALONE, "momentum_form": "gradient"}, "momentum", 0.3),
    ("kfac", ALONE, "damping", 0.7),
    ("kfac", {**ALONE, "damping_form": "exact"}, "damping", 0.7),
    ("ring", ALONE, "lr", 0.03),
    ("ring", ALONE, "weight_decay", 0.7),
    ("ring", ALONE, "momentum", 0.3),
    ("ring", ALONE, "damping", 0.7),
    ("ring", ALONE, "rho", 0.7),
    ("reng", ALONE, "lr", 0.03),
    ("reng", ALONE, "weight_decay", 0.7),
    ("reng", ALONE, "momentum", 0.3),
    ("reng", ALONE, "damping", 0.7),
    ("r-kalman", KALMAN_LOSS, "lr", 0.3),
    ("r-kalman", KALMAN_LOSS, "weight_decay", 0.7),
    ("r-kalman", KALMAN_LOSS, "momentum", 0.3),
    ("r-kalman", KALMAN_LAYER, "weight_decay", 0.7),
    ("r-kalman", KALMAN_LAYER, "momentum", 0.3),
    ("sophia-g", {}, "lr", 0.03),
    ("sophia-g", {}, "betas", (0.5, 0.7)),
    ("sophia-g", {"gamma": 50.0}, "gamma", 90.0),
    ("sophia-g", {}, "eps", 10.0),
    ("sophia-g", {}, "weight_decay", 0.7),
    ("sophia-h", {}, "betas", (0.5, 0.7)),
]


def changes(name: str, model: nn.Module, options: dict[str, Any], params: Any = None) -> dict[str, Tensor]:
    """How three steps, all from the same weights, move each parameter: `[3, *shape]` by name."""
    optimizer = create_optimizer(name, model, params=params, seed=1, **options)
    start = {key: p.detach().clone() for key, p in model.named_parameters()}
    moved: dict[str, list[Tensor]] = {key: [] for key in start}
    for step in range(3):
        take_step(model, optimizer, *class_batch(seed=step))
        with torch.no_grad():
            for key, p in model.named_parameters():
                moved[key].append(p - start[key])
                p.copy_(start[key])
    return {key: torch.stack(parts).detach() for key, parts in moved.items()}


@pytest.mark.parametrize(("name", "options", "key", "value"), CASES)
def test_each_group_steps_as_if_all_were_like_it(name: str, options: dict[str, Any], key: str, value: Any) -> None:
    model = mlp()
    first, second = (list(layer.parameters()) for layer in model if isinstance(layer, nn.Linear))
    mixed = changes(name, model, options, [{"params": first, key: value}, {"params": second}])
    own, common = changes(name, mlp(), {**options, key: value}), changes(name, mlp(), options)
    for parameter, found in mixed.items():
        expected, other = (own, common) if parameter.startswith("0.") else (common, own)
        torch.testing.assert_close(found, expected[parameter], rtol=1e-9, atol=1e-12)
        by_adamw = options is KALMAN_LAYER and parameter.endswith("bias")  # which has no momentum of the group's
        assert by_adamw or not torch.allclose(found, other[parameter], rtol=1e-4, atol=1e-9)
