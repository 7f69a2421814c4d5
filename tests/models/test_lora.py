"""LoRA: outputs unchanged at the start, few parameters train, every optimizer sees the adapters as layers."""

from __future__ import annotations

import builtins
from typing import Any, cast

import pytest
import torch
from torch import nn

from grng.errors import GrngError
from grng.models import PreparedModel, create_model, prepare_model
from grng.optimizers import create_optimizer, list_optimizers
from grng.training.clock import StepClock
from grng.training.contract import TrainableOptimizer
from grng.training.step import train_step

pytest.importorskip("peft")

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    *((info.name, {}) for info in list_optimizers()),
    ("r-kalman", {"observation": "outputs"}),
    ("r-kalman", {"observation": "samples", "filter_scope": "global"}),
    ("r-kalman", {"observation": "loss"}),
]
DEFAULT: dict[str, Any] = {"r": 4, "alpha": 8.0, "target": ["qkv"], "dropout": 0.0}


def prepared(name: str = "test_vit", **changes: Any) -> PreparedModel:
    torch.manual_seed(0)
    lora = {**DEFAULT, **changes}
    return prepare_model(name, channels=1, num_classes=10, img_size=32, lora=lora)


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(("name", "target"), [("test_vit", ["qkv", "fc2"]), ("test_resnet", ["conv2"])])
def test_the_outputs_are_unchanged_at_the_start(name: str, target: list[str]) -> None:
    torch.manual_seed(0)
    plain = create_model(name, channels=1, num_classes=10, img_size=32).eval()
    model = prepared(name, target=target).model.eval()
    images = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(model(images), plain(images), rtol=0, atol=0)


def test_an_adapter_is_the_low_rank_product() -> None:
    model: Any = prepared().model.eval()
    layer = model.blocks[0].attn.qkv
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
    x = torch.randn(5, 64)
    weight = layer.base_layer.weight + 8 / 4 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(layer(x), nn.functional.linear(x, weight, layer.base_layer.bias))


def test_adapters_and_classifier_train_and_nothing_else() -> None:
    found = prepared()
    names = {f"blocks.{i}.attn.qkv.lora_{part}.default.weight" for i in range(6) for part in "AB"}
    assert trained(found.model) == names | {"head.weight", "head.bias"}
    count = 6 * 4 * (64 + 192) + 650
    assert found.notes[0] == (
        f"LoRA: rank 4 beside 6 layers (blocks.*.attn.qkv); with the classifier {count:,} parameters train"
    )
    assert found.notes[1].startswith("frozen: ")


def test_names_reach_exactly_the_layers_they_name() -> None:
    model = prepared(target=["blocks.1.mlp.fc1", "attn.proj"]).model
    adapted = {name.partition(".lora_A")[0] for name in trained(model) if ".lora_A" in name}
    assert adapted == {"blocks.1.mlp.fc1", *(f"blocks.{i}.attn.proj" for i in range(6))}


def test_freezing_patterns_reach_adapters_too() -> None:
    torch.manual_seed(0)
    model = prepare_model(
        "test_vit", channels=1, num_classes=10, img_size=32, lora=DEFAULT, freeze=["blocks.[0-4].*"]
    ).model
    assert {name.partition(".attn")[0] for name in trained(model)} == {"blocks.5", "head.weight", "head.bias"}


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS)
def test_every_optimizer_trains_adapters_and_leaves_the_rest(optimizer: str, options: dict[str, Any]) -> None:
    model = prepared().model.train()
    made: Any = create_optimizer(optimizer, model, seed=1, **options)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    images, labels = torch.randn(16, 1, 32, 32), torch.randint(10, (16,))
    clock = StepClock(torch.device("cpu"))
    losses = [train_step(model, cast(TrainableOptimizer, made), lambda: (images, labels), clock).loss for _ in range(4)]
    made.close()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == trained(model)
    assert all(torch.isfinite(torch.tensor(losses)))


@pytest.mark.parametrize(
    ("optimizer", "rule"), [("kfac", "kronecker"), ("ring", "kronecker"), ("reng", "kronecker"), ("r-kalman", "filter")]
)
def test_coverage_lists_both_layers_of_an_adapter(optimizer: str, rule: str) -> None:
    model = prepared().model
    made: Any = create_optimizer(optimizer, model)
    rows = {row["parameter"]: row["rule"] for row in made.coverage().as_dicts()}
    made.close()
    assert {name for name in rows if "lora" in name} == {name for name in trained(model) if "lora" in name}
    assert {value for name, value in rows.items() if "lora" in name} == {rule}
    assert not any("base_layer" in name for name in rows)


def test_an_unknown_target_lists_the_layers() -> None:
    with pytest.raises(GrngError) as caught:
        prepared(target=["kqv"])
    assert str(caught.value) == (
        "model.lora.target: no linear or convolutional layer is named 'kqv'. There are patch_embed.proj, "
        "blocks.*.attn.qkv, blocks.*.attn.proj, blocks.*.mlp.fc1, blocks.*.mlp.fc2. Did you mean 'qkv'?"
    )


def test_the_classifier_is_no_target() -> None:
    with pytest.raises(GrngError, match=r"model.lora.target: the classifier 'head' trains as a whole anyway"):
        prepared(target=["head"])


def test_a_layer_whose_weight_is_used_without_calling_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    class Bypassing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.head = nn.Linear(32 * 32, 8), nn.Linear(8, 10)
            self.pretrained_cfg = {"classifier": "head"}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.head(nn.functional.linear(x.flatten(1), self.fc1.weight, self.fc1.bias))
            return outputs

    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: Bypassing())
    with pytest.raises(GrngError) as caught:
        prepared(target=["fc1"])
    assert caught.value.message.startswith("the model uses the weight of fc1 without calling the layer")


def test_without_peft_there_is_one_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "peft":
            raise ModuleNotFoundError("No module named 'peft'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(GrngError) as caught:
        prepared()
    assert str(caught.value) == "model.lora: LoRA needs the package peft. Install it: `pip install 'grng[lora]'`."
