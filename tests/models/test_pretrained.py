"""timm's own loading of pretrained weights, the network replaced by a cache of the hub on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from grng.errors import GrngError, UnknownNameError
from grng.models import check_model_name, create_model, list_models, prepare_model, pretrained_name
from tests.models.conftest import publish

VIT = "test_vit.r160_in1k"


def test_the_classifier_is_new_and_everything_else_is_the_hubs(hub: Path) -> None:
    source = publish(hub, VIT)
    torch.manual_seed(0)
    fresh = timm.create_model("test_vit", in_chans=3, num_classes=10, img_size=160)
    torch.manual_seed(0)
    prepared = prepare_model(VIT, channels=3, num_classes=10, img_size=160, pretrained=True)
    found = prepared.model.state_dict()
    for name, value in source.state_dict().items():
        expected = fresh.state_dict()[name] if name.startswith("head.") else value
        assert torch.equal(found[name], expected), name
    assert prepared.weights is not None
    assert prepared.weights.source == "timm/test_vit.r160_in1k"
    assert prepared.weights.replaced == [
        "head.weight: 1000 classes there, 10 here",
        "head.bias: 1000 classes there, 10 here",
    ]
    assert (prepared.weights.loaded, prepared.weights.total) == (len(found) - 2, len(found))
    assert prepared.notes[0] == f"weights: {len(found) - 2} of {len(found)} entries from timm/test_vit.r160_in1k"


def test_grey_images_of_another_size_get_the_summed_input_and_resized_positions(hub: Path) -> None:
    source: Any = publish(hub, VIT)
    prepared = prepare_model("test_vit", channels=1, num_classes=10, img_size=32, pretrained=True)
    weight = source.patch_embed.proj.weight.sum(dim=1, keepdim=True)
    model: Any = prepared.model
    torch.testing.assert_close(model.patch_embed.proj.weight, weight)
    positions = resample_abs_pos_embed(source.pos_embed, (2, 2), num_prefix_tokens=1)
    torch.testing.assert_close(model.pos_embed, positions)
    assert prepared.weights is not None
    assert prepared.weights.adapted == ["patch_embed.proj.weight: from 3 to 1 channels"]


def test_with_the_hubs_own_classes_the_outputs_are_the_hubs(hub: Path) -> None:
    source = publish(hub, "test_resnet.r160_in1k").eval()
    prepared = prepare_model("test_resnet", channels=3, num_classes=1000, img_size=64, pretrained=True)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(prepared.model.eval()(images), source(images))
    assert prepared.weights is not None
    assert prepared.weights.replaced == []


def test_random_draws_are_those_of_a_fresh_model(hub: Path) -> None:
    publish(hub, VIT)
    torch.manual_seed(0)
    create_model("test_vit", channels=1, num_classes=10, img_size=32)
    expected = torch.rand(1)
    torch.manual_seed(0)
    create_model(VIT, channels=1, num_classes=10, img_size=32, pretrained=True)
    assert torch.equal(torch.rand(1), expected)


def test_weights_that_are_nowhere_are_one_message(hub: Path) -> None:
    with pytest.raises(GrngError) as caught:
        create_model(VIT, channels=1, num_classes=10, img_size=32, pretrained=True)
    assert caught.value.where == "model.pretrained"
    assert caught.value.message.startswith(
        f"the pretrained weights of {VIT} are not in the cache and cannot be downloaded: "
    )
    assert "--weights" in str(caught.value.hint)


def test_without_a_network_the_message_is_the_same(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.errors as hub_errors
    import timm.models._hub as timm_hub

    def unreachable(*args: object, **kwargs: object) -> None:
        raise hub_errors.LocalEntryNotFoundError("cannot reach the hub")

    monkeypatch.setattr(timm_hub, "hf_hub_download", unreachable)
    with pytest.raises(GrngError, match=r"cannot be downloaded: cannot reach the hub"):
        create_model(VIT, channels=1, num_classes=10, img_size=32, pretrained=True)


def test_a_damaged_cache_is_one_message(hub: Path) -> None:
    publish(hub, VIT)
    (file,) = hub.rglob("model.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(GrngError) as caught:
        create_model(VIT, channels=1, num_classes=10, img_size=32, pretrained=True)
    assert caught.value.message.startswith(f"the cached weights of {VIT} are damaged: ")


def test_weights_that_the_keyword_arguments_do_not_suit_are_one_message(hub: Path) -> None:
    publish(hub, VIT)
    with pytest.raises(GrngError) as caught:
        create_model(VIT, channels=1, num_classes=10, img_size=32, pretrained=True, mlp_ratio=2)
    assert caught.value.message.startswith(f"the pretrained weights of {VIT} do not fit the model as it is built here")


def test_layers_that_the_hubs_model_does_not_have_are_named(hub: Path) -> None:
    publish(hub, VIT)
    prepared = prepare_model(VIT, channels=3, num_classes=10, img_size=32, pretrained=True, kwargs={"depth": 7})
    assert prepared.weights is not None
    assert {name.rpartition("blocks.")[2][:2] for name in prepared.weights.missing} == {"6."}
    assert prepared.weights.loaded == prepared.weights.total - len(prepared.weights.missing) - 2
    shallow = prepare_model(VIT, channels=3, num_classes=10, img_size=32, pretrained=True, kwargs={"depth": 5})
    assert shallow.weights is not None
    assert {name.rpartition("blocks.")[2][:2] for name in shallow.weights.unexpected} == {"5."}
    assert shallow.weights.missing == []


def test_the_tag_is_filled_in() -> None:
    assert pretrained_name("test_vit") == VIT
    assert pretrained_name(VIT) == VIT
    assert pretrained_name("vit_base_patch16_224.augreg_in21k") == "vit_base_patch16_224.augreg_in21k"
    for name in list_models("*", pretrained=True)[::97]:
        assert pretrained_name(name) == name
        check_model_name(name, pretrained=True)


def test_an_unknown_tag_says_what_is_near() -> None:
    with pytest.raises(UnknownNameError) as caught:
        pretrained_name("vit_base_patch16_224.augreg_in21")
    assert str(caught.value).startswith(
        "the model 'vit_base_patch16_224' has no pretrained weights 'augreg_in21'. Did you mean 'augreg_in21k'"
    )
    with pytest.raises(UnknownNameError, match=r"has no pretrained weights 'qqq'\. It has: r160_in1k\."):
        pretrained_name("test_vit.qqq")


def test_a_model_without_pretrained_weights() -> None:
    with pytest.raises(UnknownNameError, match="timm has no pretrained weights for the model 'resnetv2_50t'"):
        pretrained_name("resnetv2_50t")


def test_an_unknown_model_says_what_is_near() -> None:
    with pytest.raises(UnknownNameError, match=r"timm has no model 'test_vitt'\. Did you mean 'test_vit'"):
        pretrained_name("test_vitt")


def test_lists_of_pretrained_names() -> None:
    assert VIT in list_models("test_vit*", pretrained=True)
    with pytest.raises(UnknownNameError, match="no pretrained model of timm matches 'zzz'"):
        list_models("zzz", pretrained=True)
