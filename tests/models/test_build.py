from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from grng.errors import GrngError, UnknownNameError
from grng.models import check_model_kwargs, check_model_name, create_model, list_models
from grng.models.names import is_in_timms_source

FAMILIES = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_maxvit", "test_mambaout"]


def make(name: str = "test_resnet", img_size: int = 32, num_classes: int = 10, **kwargs: Any) -> nn.Module:
    return create_model(name, channels=1, num_classes=num_classes, img_size=img_size, **kwargs)


@pytest.mark.parametrize("name", FAMILIES)
def test_takes_the_data_sets_channels_classes_and_size(name: str) -> None:
    model = create_model(name, channels=2, num_classes=7, img_size=64)
    assert model(torch.zeros(3, 2, 64, 64)).shape == (3, 7)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", FAMILIES)
def test_trying_leaves_no_trace(name: str) -> None:
    import timm

    torch.manual_seed(0)
    ours = make(name)
    after_ours = torch.rand(1)
    torch.manual_seed(0)
    size: dict[str, Any] = {"img_size": 32} if name in ("test_vit", "test_maxvit") else {}
    plain = timm.create_model(name, pretrained=False, in_chans=1, num_classes=10, **size)
    after_plain = torch.rand(1)
    assert torch.equal(after_ours, after_plain)
    for key, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key


def test_a_failed_attempt_draws_nothing() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with pytest.raises(GrngError):
        make("test_vit", img_size=30, foo=1)
    assert torch.equal(torch.rand(1), expected)


def test_passes_keyword_arguments_on() -> None:
    assert make(drop_rate=0.25).drop_rate == 0.25


def test_unknown_name_says_what_is_near() -> None:
    with pytest.raises(UnknownNameError) as caught:
        check_model_name("test_resnt")
    assert str(caught.value).startswith("timm has no model 'test_resnt'. Did you mean 'test_resnet'")


def test_unknown_name_with_nothing_near() -> None:
    with pytest.raises(UnknownNameError) as caught:
        make("qqqqqqqq")
    assert str(caught.value) == "timm has no model 'qqqqqqqq'. `grng models list` shows all of them."


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "hf_hub:timm/resnet18", "local-dir:/tmp", ""])
def test_no_name_reaches_outside_of_timm(name: str) -> None:
    with pytest.raises(UnknownNameError):
        make(name)


def test_names_of_pretrained_weights_need_to_be_asked_for() -> None:
    with pytest.raises(UnknownNameError) as caught:
        make("resnet18.a1_in1k")
    assert str(caught.value) == (
        "the model name 'resnet18.a1_in1k' names pretrained weights, and nothing asks for them. "
        "Add --pretrained (model.pretrained: true), or write 'resnet18' for other weights."
    )


def test_image_size_that_patches_do_not_divide() -> None:
    with pytest.raises(GrngError) as caught:
        make("test_vit", img_size=30)
    assert caught.value.message == (
        "the model test_vit cannot take images of 30×30 pixels: "
        "Input height (30) should be divisible by patch size (16)."
    )
    assert caught.value.hint == "Set another dataset.img_size (--img-size): 224 suits most. Or is it model.kwargs?"


def test_image_size_too_small_for_a_convolutional_model() -> None:
    with pytest.raises(GrngError, match=r"the model test_convnext cannot take images of 8×8 pixels: .*Kernel size"):
        make("test_convnext", img_size=8)


def test_unknown_keyword_argument() -> None:
    with pytest.raises(GrngError) as caught:
        make(dropp_rate=0.1)
    assert str(caught.value) == "model.kwargs: the model test_resnet takes no argument 'dropp_rate'."


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes(classes: int) -> None:
    with pytest.raises(GrngError) as caught:
        make(num_classes=classes)
    assert str(caught.value) == f"a model needs at least 2 classes to tell apart, the data set has {classes}."


def test_a_model_whose_head_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    fixed = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 1000))
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: fixed)
    with pytest.raises(GrngError) as caught:
        make()
    assert str(caught.value) == (
        "the model test_resnet cannot tell 10 classes apart: for one image it gives [1, 1000], not [1, 10]."
    )


@pytest.mark.parametrize("key", ["img_size", "num_classes", "in_chans", "pretrained", "checkpoint_path"])
def test_what_follows_from_the_data_is_not_for_kwargs(key: str) -> None:
    with pytest.raises(GrngError, match=rf"model.kwargs: cannot set '{key}'\."):
        check_model_kwargs([key])


def test_list_models_by_pattern() -> None:
    found = list_models("test_vit*")
    assert "test_vit" in found
    assert all(name.startswith("test_vit") for name in found)
    assert len(list_models()) > 1000


def test_list_models_without_a_match() -> None:
    with pytest.raises(UnknownNameError) as caught:
        list_models("zzzz*")
    assert str(caught.value) == ("no model of timm matches 'zzzz*'. Put * for any letters: 'vit*' or '*resnet*'.")


def test_a_name_is_found_in_timms_source_exactly_where_timm_has_it_and_without_importing_it() -> None:
    import timm

    registered = timm.list_models()
    some = registered[:: len(registered) // 25]
    assert [name for name in some if not is_in_timms_source(name)] == []
    assert not any(
        is_in_timms_source(name) for name in ("test_resnt", "test_vi", "vit.*", "", "test_vit.r160_in1k", "ü")
    )
    look = (
        "import sys; from grng.models import check_model_name as check; check('test_vit'); print('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", look], check=True, capture_output=True).stdout == b"False\n"
