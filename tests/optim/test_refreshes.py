"""Refreshes of the inverses are spread over the interval."""

from __future__ import annotations

import timm
import torch
from torch import nn

from grng.curvature.layers import Layer, find_layers
from grng.optim.kfac import KFAC
from grng.optim.refreshes import spread_refreshes
from tests.oracles.nets import class_batch, mlp, take_step


def layers_of(model: nn.Module) -> list[Layer]:
    return find_layers(model, set(model.parameters()), max_factor_size=None)[0]


def test_equal_layers_take_turns() -> None:
    layers = layers_of(nn.Sequential(*(nn.Linear(4, 4) for _ in range(6))))
    phases = spread_refreshes(layers, 3)
    assert [phases[layer.weight] for layer in layers] == [0, 1, 2, 0, 1, 2]


def test_one_wide_layer_outweighs_eight_of_half_its_width() -> None:
    layers = layers_of(nn.Sequential(*(nn.Linear(n, n, bias=False) for n in (*[2] * 8, 4))))
    phases = spread_refreshes(layers, 2)
    assert [phases[layer.weight] for layer in layers] == [*[1] * 8, 0]


def test_the_work_is_shared_out_evenly() -> None:
    layers = layers_of(timm.create_model("resnet18", num_classes=10))
    phases = spread_refreshes(layers, 10)
    work = torch.zeros(10)
    for layer in layers:
        work[phases[layer.weight]] += layer.input_size**3 + layer.output_size**3
    largest = max(layer.input_size**3 + layer.output_size**3 for layer in layers)
    assert float(work.max()) <= float(work.mean()) + largest
    assert set(phases.values()) == set(range(10))


def test_every_layer_is_refreshed_at_the_first_observation_and_once_an_interval() -> None:
    model = mlp(sizes=(5, 6, 6, 4))
    optimizer = KFAC(model, curvature_interval=1, inverse_interval=4, lr=0.01)
    seen: dict[nn.Parameter, list[int]] = {}
    last: dict[nn.Parameter, torch.Tensor] = {}
    for step in range(9):
        take_step(model, optimizer, *class_batch(seed=step))
        for layer in optimizer._partition.layers:
            inverse = optimizer.state[layer.weight]["A_inverse"]
            if layer.weight not in last or not torch.equal(last[layer.weight], inverse):
                seen.setdefault(layer.weight, []).append(step)
            last[layer.weight] = inverse.clone()
    phases = optimizer._phases
    assert sorted(phases.values()) == [0, 1, 2]
    for weight, steps in seen.items():
        assert steps == sorted({0, *range(phases[weight], 9, 4)})
