from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from grng.errors import GrngError
from grng.models import create_model, prepare_model
from grng.models.classifier import classifier_modules
from grng.models.freezing import (
    freeze,
    freeze_all_but_classifier,
    freezing_line,
    frozen_norms,
    set_training_mode,
)


def make(name: str = "test_resnet", **kwargs: Any) -> nn.Module:
    return create_model(name, channels=1, num_classes=10, img_size=32, **kwargs)


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_patterns_are_those_of_file_names() -> None:
    model = make("test_vit")
    every = trained(model)
    freeze(model, ["blocks.[01].*", "pos_embed", "*.norm?.bias"])
    frozen = every - trained(model)
    assert {name for name in every if name.startswith(("blocks.0.", "blocks.1."))} <= frozen
    assert "pos_embed" in frozen
    assert "blocks.5.norm2.bias" in frozen
    assert "blocks.5.norm2.weight" not in frozen
    assert "norm.bias" not in frozen


def test_a_pattern_that_matches_nothing_says_what_is_near() -> None:
    with pytest.raises(GrngError) as caught:
        freeze(make("test_vit"), ["block.*"])
    assert str(caught.value) == "model.freeze: no parameter's name matches 'block.*'. Did you mean 'blocks.*'?"
    with pytest.raises(GrngError, match=r"Did you mean 'pos_embed'"):
        freeze(make("test_vit"), ["pos_emb"])
    with pytest.raises(GrngError, match=r"Its names begin with cls_token, pos_embed, patch_embed, blocks"):
        freeze(make("test_vit"), ["qqq"])


def test_a_module_is_not_a_parameter_but_its_name_leads_to_them() -> None:
    with pytest.raises(GrngError, match=r"Did you mean 'blocks\.0\.attn\.qkv\.\*'"):
        freeze(make("test_vit"), ["blocks.0.attn.qkv"])


def test_nothing_left_to_train() -> None:
    with pytest.raises(GrngError) as caught:
        freeze(make(), ["*"])
    assert str(caught.value).startswith("model.freeze: '*' freezes every parameter: nothing is left to train.")


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_maxvit", "test_mambaout"]
)
def test_a_linear_probe_trains_what_the_outputs_are_made_with(name: str) -> None:
    model = make(name)
    freeze_all_but_classifier(model, where="model.linear_probe")
    (head,) = classifier_modules(model)
    assert trained(model) == {f"{head}.weight", f"{head}.bias"}
    weight = model.get_parameter(f"{head}.weight")
    assert weight.shape[0] == 10


def test_a_model_that_does_not_say_where_its_classifier_is() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(GrngError, match=r"model\.linear_probe: timm does not say"):
        freeze_all_but_classifier(model, where="model.linear_probe")


def test_frozen_batch_norms_keep_their_statistics() -> None:
    model = make()
    freeze_all_but_classifier(model, where="x")
    set_training_mode(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(4, 1, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert model.training
    assert len(frozen_norms(model)) == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_other_batch_norms_follow_the_data() -> None:
    model = make()
    freeze(model, ["layer1.*"])
    set_training_mode(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(4, 1, 32, 32))
    kept = {name for name, value in model.named_buffers() if torch.equal(value, before[name])}
    assert kept == {name for name in before if name.startswith("layer1.")}


def test_a_batch_norm_without_parameters_follows_its_parent() -> None:
    parent = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False))
    model = nn.Sequential(parent, nn.Flatten(), nn.Linear(2, 2))
    assert frozen_norms(model) == []
    parent.requires_grad_(False)
    assert frozen_norms(model) == [parent[1]]


def test_what_is_frozen_is_said() -> None:
    model = make()
    assert freezing_line(model) is None
    prepared = prepare_model("test_resnet", channels=1, num_classes=10, img_size=32, linear_probe=True)
    total = sum(parameter.numel() for parameter in model.parameters())
    head = sum(parameter.numel() for parameter in model.get_submodule("fc").parameters())
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    (line,) = prepared.notes
    assert line == (
        f"frozen: {total - head:,} of {total:,} parameters, {head:,} train; "
        f"{norms} frozen BatchNorm layers in evaluation mode"
    )
