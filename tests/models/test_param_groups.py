"""Parameter groups against timm's own, and against how far each optimizer moves each parameter."""

from __future__ import annotations

from typing import Any, cast

import pytest
import timm.optim
import torch
from torch import Tensor, nn

from grng.errors import GrngError
from grng.models import create_model, prepare_model
from grng.models.param_groups import parameter_groups
from grng.optimizers import create_optimizer, list_optimizers, resolve_hyperparameters
from grng.training.clock import StepClock
from grng.training.contract import TrainableOptimizer
from grng.training.step import train_step

OPTIMIZERS = [*(info.name for info in list_optimizers()), "timm:lion"]
# What ties layers to one another is off: the trust region.
ALONE: dict[str, dict[str, Any]] = {name: {"kl_clip": None} for name in ("kfac", "ring", "reng")}


def make(name: str = "test_vit", *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(name, channels=1, num_classes=10, img_size=32)


def by_name(model: nn.Module, groups: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return what a group sets for `key`, for each parameter by name; None: nothing."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[parameter]: group.get(key) for group in groups for parameter in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups), "no parameter is in two groups"
    return found


def groups_of(model: nn.Module, lr: float = 0.1, **settings: Any) -> list[dict[str, Any]]:
    found = parameter_groups(model, {"lr": lr}, **{"layer_decay": None, "no_decay": False, **settings})
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet", "test_mambaout"])
@pytest.mark.parametrize("no_decay", [False, True])
def test_layer_decay_is_timms(name: str, no_decay: bool) -> None:
    model: Any = make(name)
    groups = groups_of(model, layer_decay=0.7, no_decay=no_decay)
    listed = model.no_weight_decay() if no_decay and hasattr(model, "no_weight_decay") else ()
    timms = timm.optim.param_groups_layer_decay(
        model, 0.05, no_weight_decay_list=listed, layer_decay=0.7, weight_decay_exclude_1d=no_decay
    )
    scales, decays = by_name(model, timms, "lr_scale"), by_name(model, timms, "weight_decay")
    assert by_name(model, groups, "lr") == pytest.approx({key: 0.1 * scale for key, scale in scales.items()})
    ours = by_name(model, groups, "weight_decay")
    assert {key: 0.05 if value is None else value for key, value in ours.items()} == decays
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.1, "what is logged as the learning rate is the last layers'"
    assert len(set(rates)) > 2


def test_the_last_layers_of_a_vit_have_the_full_rate_and_each_below_less() -> None:
    model = make()
    rates = by_name(model, groups_of(model, layer_decay=0.5), "lr")
    assert rates["head.weight"] == 0.1
    assert rates["blocks.5.mlp.fc1.weight"] / rates["blocks.4.mlp.fc1.weight"] == pytest.approx(2)
    assert rates["blocks.0.attn.qkv.bias"] / rates["patch_embed.proj.weight"] == pytest.approx(2)


def test_no_decay_is_timms() -> None:
    model: Any = make()
    ours = by_name(model, groups_of(model, no_decay=True), "weight_decay")
    timms = timm.optim.param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    assert {key: 0.05 if value is None else value for key, value in ours.items()} == by_name(
        model, timms, "weight_decay"
    )
    assert ours["pos_embed"] == ours["cls_token"] == ours["norm.weight"] == ours["head.bias"] == 0
    assert ours["head.weight"] is None
    assert all("lr" not in group for group in groups_of(model, no_decay=True))


def test_off_is_none_at_all() -> None:
    assert parameter_groups(make(), {"lr": 0.1}, layer_decay=None, no_decay=False) is None


def test_frozen_parameters_are_in_no_group() -> None:
    model = prepare_model("test_vit", channels=1, num_classes=10, img_size=32, freeze=["blocks.*"]).model
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert by_name(model, groups_of(model, layer_decay=0.5, no_decay=True), "lr").keys() == trained
    assert by_name(model, groups_of(model, no_decay=True), "lr").keys() == trained


def test_a_linear_probe_has_one_rate() -> None:
    model = prepare_model("test_vit", channels=1, num_classes=10, img_size=32, linear_probe=True).model
    (group,) = groups_of(model, layer_decay=0.5)
    assert group["lr"] == 0.1


@pytest.mark.parametrize("hyperparameters", [{}, {"lr": None}])
def test_an_optimizer_without_a_learning_rate(hyperparameters: dict[str, Any]) -> None:
    with pytest.raises(GrngError, match=r"training.layer_decay: layer-wise decay scales the learning rate"):
        parameter_groups(make(), hyperparameters, layer_decay=0.5, no_decay=False)


def test_a_model_whose_layers_timm_cannot_tell_apart() -> None:
    with pytest.raises(GrngError, match=r"training.layer_decay: timm does not tell the layers"):
        groups_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), layer_decay=0.5)


def one_step(
    optimizer: str, *, layer_decay: float | None = None, no_decay: bool = False, ignored: str = "", **given: Any
) -> dict[str, Tensor]:
    """Return how far the first step moves each parameter; groups are the same but for the key `ignored`."""
    model = make().double().train()
    values = resolve_hyperparameters(optimizer, {**ALONE.get(optimizer, {}), **given})
    groups = parameter_groups(model, values, layer_decay=layer_decay, no_decay=no_decay)
    # The same groups, since random vectors are drawn in their order.
    groups = [{key: value for key, value in group.items() if key != ignored} for group in groups or []] or None
    made: Any = create_optimizer(optimizer, model, params=groups, seed=3, **values)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    torch.manual_seed(1)
    images, labels = torch.randn(16, 1, 32, 32, dtype=torch.float64), torch.randint(10, (16,))
    train_step(model, cast(TrainableOptimizer, made), lambda: (images, labels), StepClock(torch.device("cpu")))
    made.close()
    return {name: parameter.detach() - before[name] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_scales_the_step_of_each_layer(optimizer: str) -> None:
    model: Any = make()
    timms = timm.optim.param_groups_layer_decay(model, layer_decay=0.6)
    scales = by_name(model, timms, "lr_scale")
    assert min(scales.values()) < 0.05
    plain, scaled = one_step(optimizer, layer_decay=0.6, ignored="lr"), one_step(optimizer, layer_decay=0.6)
    assert any(float(step.abs().max()) > 0 for step in plain.values())
    for name, step in plain.items():
        torch.testing.assert_close(scaled[name], scales[name] * step, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_leaves_out_the_decay_where_it_should(optimizer: str) -> None:
    model: Any = make()
    timms = timm.optim.param_groups_weight_decay(model, 1.0, no_weight_decay_list=model.no_weight_decay())
    exempt = {name for name, value in by_name(model, timms, "weight_decay").items() if value == 0}
    everywhere = one_step(optimizer, weight_decay=0.3, no_decay=True, ignored="weight_decay")
    nowhere = one_step(optimizer, weight_decay=0.0, no_decay=True, ignored="weight_decay")
    found = one_step(optimizer, weight_decay=0.3, no_decay=True)
    for name, step in found.items():
        expected = nowhere if name in exempt else everywhere
        torch.testing.assert_close(step, expected[name], rtol=1e-9, atol=1e-14)
    assert not torch.equal(everywhere["norm.weight"], nowhere["norm.weight"]), "decay does something"
