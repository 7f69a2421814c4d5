"""Weights put into models, against timm's own loading, and by what the outputs must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from grng.errors import GrngError
from grng.models import create_model
from grng.models.fitting import load_weights
from grng.models.report import LoadedWeights
from grng.models.weights_file import weights_sha256

FAMILIES = [
    "test_resnet",
    "test_vit",
    "test_efficientnet",
    "test_convnext",
    "test_maxvit",
    "test_mambaout",
    "test_nfnet",
]


def build(name: str, *, channels: int = 1, classes: int = 10, img_size: int = 32, seed: int = 0, **kwargs: Any) -> Any:
    torch.manual_seed(seed)
    return create_model(name, channels=channels, num_classes=classes, img_size=img_size, **kwargs)


def saved(model: nn.Module, path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return path


def load(model: nn.Module, path: Path, name: str, *, channels: int = 1, **kwargs: Any) -> LoadedWeights:
    return load_weights(model, path, name=name, channels=channels, **kwargs)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of timm's own code: MaxViT's tables
@pytest.mark.parametrize("name", FAMILIES)
def test_other_channels_classes_and_size_as_timm_itself_loads_them(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    path = saved(timm.create_model(name), tmp_path / "x.safetensors")
    pixels = 64 if name == "test_maxvit" else 32
    model = build(name, img_size=pixels)
    report = load(model, path, name)
    size: dict[str, Any] = {"img_size": pixels} if name in ("test_vit", "test_maxvit") else {}
    torch.manual_seed(0)
    overlay = {"file": str(path), "num_classes": 1000}
    timms = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, num_classes=10, **size
    ).state_dict()
    assert model.state_dict().keys() == timms.keys()
    for entry, value in model.state_dict().items():
        assert torch.equal(value, timms[entry]), entry
    assert (report.missing, report.unexpected) == ([], [])
    assert report.sha256 == weights_sha256(path)
    assert report.loaded == report.total - len(report.replaced)
    assert any(line.endswith("[1000] in the file, [10] here") for line in report.replaced)
    assert len(report.adapted) >= 1, "the input convolution at least"


def test_the_same_model_gives_the_same_outputs(tmp_path: Path) -> None:
    source, model = build("test_resnet", seed=1), build("test_resnet")
    for module in source.modules():  # statistics of its own
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.normal_()
    report = load(model, saved(source, tmp_path / "x.safetensors"), "test_resnet")
    images = torch.randn(3, 1, 32, 32)
    assert torch.equal(model.eval()(images), source.eval()(images))
    assert report.loaded == report.total == len(source.state_dict())
    assert report.lines() == [f"weights: {report.total} of {report.total} entries from {tmp_path / 'x.safetensors'}"]


def test_grey_weights_serve_colour_images_whose_channels_are_alike(tmp_path: Path) -> None:
    source, model = build("test_resnet", seed=1).eval(), build("test_resnet", channels=3).eval()
    report = load(model, saved(source, tmp_path / "x.safetensors"), "test_resnet", channels=3)
    images = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(model(images.expand(-1, 3, -1, -1)), source(images))
    (line,) = report.adapted
    assert line.startswith("conv1.0.weight: ")


def test_position_embeddings_are_resized_and_said(tmp_path: Path) -> None:
    source, model = build("test_vit", img_size=64, seed=1), build("test_vit")
    report = load(model, saved(source, tmp_path / "x.safetensors"), "test_vit")
    from timm.layers import resample_abs_pos_embed

    expected = resample_abs_pos_embed(source.pos_embed, (2, 2), num_prefix_tokens=1)
    torch.testing.assert_close(model.pos_embed, expected)
    assert report.adapted == ["pos_embed: [1, 17, 64] in the file, [1, 5, 64] here"]
    assert report.replaced == []


def test_a_classifier_of_other_classes_stays_new_as_a_whole(tmp_path: Path) -> None:
    source, model = build("test_vit", classes=7, seed=1), build("test_vit")
    fresh = {name: value.clone() for name, value in model.head.state_dict().items()}
    report = load(model, saved(source, tmp_path / "x.safetensors"), "test_vit")
    assert all(torch.equal(value, fresh[name]) for name, value in model.head.state_dict().items())
    assert report.replaced == [
        "head.weight: [7, 64] in the file, [10, 64] here",
        "head.bias: [7] in the file, [10] here",
    ]
    assert report.lines()[1].startswith("  new, of another shape: head.weight: [7, 64] in the file")


def test_a_classifiers_bias_alone_is_not_loaded(tmp_path: Path) -> None:
    model = build("test_vit")
    state = build("test_vit", seed=1).state_dict()
    state["head.weight"] = torch.zeros(10, 63)
    torch.save(state, tmp_path / "x.pt")
    bias = model.head.bias.detach().clone()
    report = load(model, tmp_path / "x.pt", "test_vit")
    assert torch.equal(model.head.bias, bias)
    assert report.replaced[1] == "head.bias: new with its layer"


def test_names_of_what_is_missing_and_left_over(tmp_path: Path) -> None:
    model = build("test_vit")
    state = build("test_vit", seed=1).state_dict()
    del state["blocks.2.attn.qkv.weight"], state["head.bias"]
    state["decoder.weight"] = torch.zeros(3)
    torch.save({"model": state}, tmp_path / "x.pt")
    report = load(model, tmp_path / "x.pt", "test_vit")
    assert report.missing == ["blocks.2.attn.qkv.weight", "head.bias"]
    assert report.unexpected == ["decoder.weight"]
    assert report.entry == "model"
    assert report.lines() == [
        f"weights: {report.total - 2} of {report.total} entries from {tmp_path / 'x.pt'} (its 'model')",
        "  new, missing in the source: blocks.2.attn.qkv.weight, head.bias",
        "  left over in the source: decoder.weight",
    ]


def test_long_lists_are_shortened() -> None:
    report = LoadedWeights("x", None, None, 1, 9, missing=list("abcdef"))
    assert report.lines()[1] == "  new, missing in the source: a, b, c, d and 2 more"


def test_a_deeper_model_of_the_same_kind_lends_its_lower_layers(tmp_path: Path) -> None:
    source, model = build("test_vit", seed=1), build("test_vit", depth=3)
    report = load(model, saved(source, tmp_path / "x.safetensors"), "test_vit")
    assert report.missing == []
    assert {name.partition(".")[2][:1] for name in report.unexpected} == {"3", "4", "5"}
    assert torch.equal(model.blocks[2].mlp.fc1.weight, source.blocks[2].mlp.fc1.weight)


def test_rules_translate_names(tmp_path: Path) -> None:
    source, model = build("test_resnet", seed=1), build("test_resnet")
    renamed = {f"encoder.{name.replace('layer', 'stage')}": value for name, value in source.state_dict().items()}
    torch.save(renamed, tmp_path / "x.pt")
    report = load(model, tmp_path / "x.pt", "test_resnet", rules=["encoder.=", r"re:^stage(\d)=layer\1"])
    assert report.loaded == report.total
    assert torch.equal(model.layer1[0].conv1.weight, source.layer1[0].conv1.weight)


def test_half_precision_is_widened(tmp_path: Path) -> None:
    source, model = build("test_vit", seed=1), build("test_vit")
    torch.save({name: value.half() for name, value in source.state_dict().items()}, tmp_path / "x.pt")
    load(model, tmp_path / "x.pt", "test_vit")
    assert model.head.weight.dtype == torch.float32
    torch.testing.assert_close(model.head.weight, source.head.weight, atol=1e-3, rtol=1e-3)


def misfit(state: dict[str, Tensor], path: Path, name: str, **kwargs: Any) -> GrngError:
    model = build(name)
    before = {entry: value.clone() for entry, value in model.state_dict().items()}
    torch.save(state, path)
    with pytest.raises(GrngError) as caught:
        load(model, path, name, **kwargs)
    assert caught.value.where == "model.weights"
    assert all(torch.equal(value, before[entry]) for entry, value in model.state_dict().items()), "it is as it was"
    return caught.value


def test_weights_of_another_model_say_whose_they_are(tmp_path: Path) -> None:
    state = build("test_resnet", seed=1).state_dict()
    error = misfit(state, tmp_path / "x.pt", "test_vit")
    total = len(build("test_vit").state_dict()) - 2
    assert error.message == (
        f"{tmp_path / 'x.pt'} does not fit test_vit: none of the {total} entries of the model below its classifier "
        f"are among the {len(state)} of the file with the same name and shape."
    )
    fitting = len(state) - 2
    assert str(error.hint).startswith(f"Models that it fits: test_resnet ({fitting} of {fitting})")


def test_weights_of_a_bigger_sibling_name_the_sibling(tmp_path: Path) -> None:
    source = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    error = misfit(source.state_dict(), tmp_path / "vit_tiny.pt", "test_vit")
    assert "Models that it fits: vit_tiny_patch16_224 (" in str(error.hint)


def test_weights_under_a_common_prefix_say_which_rule_helps(tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in build("test_vit", seed=1).state_dict().items()}
    error = misfit(state, tmp_path / "x.pt", "test_vit")
    assert error.hint == "All its names begin with 'backbone.': try --weights-map 'backbone.='."


def test_less_than_half_of_the_entries_is_not_enough(tmp_path: Path) -> None:
    state = dict(list(build("test_vit", seed=1).state_dict().items())[:20])
    error = misfit(state, tmp_path / "x.pt", "test_vit")
    assert " test_vit: 20 of the " in error.message


def test_a_classifier_alone_is_not_enough(tmp_path: Path) -> None:
    state = {name: value for name, value in build("test_vit", seed=1).state_dict().items() if name.startswith("head.")}
    assert "test_vit: none of the" in misfit(state, tmp_path / "x.pt", "test_vit").message


def test_weights_of_nothing_known_list_their_names(tmp_path: Path) -> None:
    error = misfit({"a.b": torch.zeros(1), "c.d": torch.zeros(1)}, tmp_path / "x.pt", "test_resnet")
    assert error.hint == "Its entries are a.b, c.d; rename them with --weights-map, or choose another model."
