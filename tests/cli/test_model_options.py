"""Weights, frozen parts, adapters and parameter groups on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from grng.errors import GrngError
from grng.training.checkpoint import save_checkpoint
from grng_cli.options.model import parse_lora
from tests.cli.conftest import TINY, Call, snapshot

LINE = ("train", *TINY, "--threads", 1, "--no-tensorboard", "--output", "x")
COMPARE = ("compare", *TINY, "--optimizers", "sgd,ring", "--seeds", 1, "--workers", 0, "--output", "x")


def vit(path: Path, **changes: Any) -> Path:
    torch.manual_seed(3)
    model = timm.create_model("test_vit", in_chans=1, img_size=32, **changes)
    save_file({f"body.{name}": value for name, value in model.state_dict().items()}, path)
    return path


def written(directory: str) -> dict[str, Any]:
    return dict(yaml.safe_load(Path(directory, "config.yaml").read_text()))


@pytest.mark.parametrize(("line", "directory"), [((*LINE, "--optimizer", "ring"), "x"), (COMPARE, "x/ring/seed0")])
def test_every_flag_reaches_the_config(grng: Call, workdir: Path, line: tuple[object, ...], directory: str) -> None:
    vit(workdir / "weights.safetensors", num_classes=7)
    ran = grng(
        *(*line, "--weights", "weights.safetensors", "--weights-map", "body.=", "--freeze", "blocks.[01].*"),
        *("--freeze", "pos_embed", "--drop-path", 0.1, "--layer-decay", 0.7, "--no-decay"),
    )
    assert ran.code == 0, ran.err
    config = written(directory)
    model = config["model"]
    assert (model["weights"], model["weights_map"]) == (str(workdir / "weights.safetensors"), ["body.="])
    assert (model["freeze"], model["drop_path"]) == (["blocks.[01].*", "pos_embed"], 0.1)
    assert (config["training"]["layer_decay"], config["training"]["no_decay"]) == (0.7, True)
    result = json.loads(Path(directory, "result.json").read_text())
    assert result["weights"]["sha256"] == model["weights_sha256"]
    assert [text.partition(":")[0] for text in result["weights"]["replaced"]] == ["head.weight", "head.bias"]
    said = ran.err.splitlines()
    found = result["weights"]
    assert found["source"] == str(workdir / "weights.safetensors")
    assert f"weights: {found['loaded']} of {found['total']} entries from {found['source']}" in said
    assert "  new, of another shape: head.weight: [7, 64] in the file, [10, 64] here, head.bias: [7]" in ran.err
    assert any(line.startswith("frozen: ") for line in said)


@pytest.mark.parametrize(("line", "directory"), [((*LINE, "--optimizer", "ring"), "x"), (COMPARE, "x/ring/seed0")])
def test_adapters_and_probes_by_flag(grng: Call, workdir: Path, line: tuple[object, ...], directory: str) -> None:
    pytest.importorskip("peft")
    ran = grng(*line, "--lora", "r=2,target=[qkv,fc1]")
    assert ran.code == 0, ran.err
    assert written(directory)["model"]["lora"] == {"r": 2, "alpha": 16.0, "target": ["qkv", "fc1"], "dropout": 0.0}
    assert "LoRA: rank 2 beside 12 layers (blocks.*.attn.qkv, blocks.*.mlp.fc1); with the classifier " in ran.err
    probe = grng(*line, "--linear-probe", "--output", "y")
    assert probe.code == 0, probe.err
    assert written(directory.replace("x", "y", 1))["model"]["linear_probe"] is True


def test_the_same_line_goes_on_and_other_weights_are_another_run(grng: Call, workdir: Path) -> None:
    weights = vit(workdir / "w.safetensors")
    line = (*LINE, "--optimizer", "sgd", "--weights", weights, "--weights-map", "body.=")
    assert grng(*line).code == 0
    assert "reused: this run has ended before" in grng(*line).err
    before = snapshot(workdir / "x")
    vit(weights, num_classes=7)
    refused = grng(*line)
    assert refused.code == 2
    assert "holds another run" in refused.err
    resumed = grng("train", "--config", "x/config.yaml", "--output", "x")
    assert resumed.code == 2
    assert "is another file than is meant" in resumed.err
    assert snapshot(workdir / "x") == before


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


def bad_files(folder: Path, canary: Path) -> dict[str, str]:
    """Write files that are no weights for test_vit; return what is said of each."""
    torch.save({"state_dict": {"w": torch.zeros(1)}, "x": Canary(canary)}, folder / "evil.pt")
    (folder / "text.pt").write_text("seed: 1\n")
    save_file({"w": torch.zeros(100)}, folder / "cut.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "cut.safetensors").read_bytes()[:200])
    torch.save({"epoch": 3}, folder / "none.pt")
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "other.pt")
    save_checkpoint(folder / "best.pt", {"model": timm.create_model("test_vit", in_chans=1, img_size=32).state_dict()})
    flipped = bytearray((folder / "best.pt").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (folder / "best.pt").write_bytes(flipped)
    (folder / "folder").mkdir()
    return {
        "evil.pt": "evil.pt holds more than tensors and plain values: it asks for posix.system",
        "text.pt": "text.pt is damaged or holds no weights",
        "cut.safetensors": "cut.safetensors is damaged or holds no weights",
        "none.pt": "none.pt holds no weights, but 'epoch'.",
        "other.pt": "Models that it fits: test_resnet (",
        "best.pt": "best.pt is damaged: the checksum does not fit.",
        "folder": "folder is a directory, not a file of weights.",
        "missing.pt": "there is no file missing.pt.",
    }


@pytest.mark.parametrize("line", [(*LINE, "--optimizer", "sgd"), pytest.param(COMPARE, marks=pytest.mark.slow)])
def test_files_that_are_no_weights_end_in_one_message(grng: Call, workdir: Path, line: tuple[object, ...]) -> None:
    canary = workdir.parent / "canary"
    expected = bad_files(workdir, canary)
    before = snapshot(workdir)
    for name, text in expected.items():
        ran = grng(*line, "--weights", name)
        assert ran.code == 2, name
        assert text in ran.err.replace("\n", " "), ran.err
        assert "--weights" in ran.err
        assert "Traceback" not in ran.err
        assert ran.out == ""
        assert snapshot(workdir) == before, name
    assert not canary.exists()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("--freeze", "block.*"), "no parameter's name matches 'block.*'"),
        (("--freeze", "*"), "freezes every parameter"),
        (("--lora", "target=kqv"), "no linear or convolutional layer is named 'kqv'"),
        (("--lora", "rank=4"), "there is no setting 'rank'"),
        (("--lora", "r=0"), "must be at least 1, not 0"),
        (("--lora", "r=4", "--linear-probe"), "lora and linear_probe exclude each other"),
        (("--weights-map", "a=b"), "weights_map is about a file of weights, and there is none"),
        (("--weights", "x", "--pretrained"), "weights and pretrained exclude each other"),
        (("--layer-decay", 0), "must be greater than 0, not 0"),
        (("--drop-path", 1), "must be less than 1, not 1"),
        (("--model", "resnetv2_50t", "--pretrained"), "timm has no pretrained weights for the model 'resnetv2_50t'"),
        (("--model", "test_vit.qqq", "--pretrained"), "has no pretrained weights 'qqq'"),
        (("--model", "vgg11", "--drop-path", 0.1), "has no blocks that stochastic depth could drop"),
    ],
)
@pytest.mark.parametrize("line", [(*LINE, "--optimizer", "sgd"), COMPARE])
def test_mistakes_end_in_one_message(
    grng: Call, workdir: Path, line: tuple[object, ...], given: tuple[object, ...], text: str
) -> None:
    if "--lora" in given:
        pytest.importorskip("peft")
    line = tuple(part for part in line if part not in ("--model", "test_vit")) if "--model" in given else line
    ran = grng(*line, *given)
    assert ran.code == 2
    assert text in ran.err.replace("\n", " "), ran.err
    assert "Traceback" not in ran.err
    assert not snapshot(workdir)


def test_pretrained_weights_out_of_reach_end_in_one_message(
    grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workdir.parent / "hub"))
    for line in ((*LINE, "--optimizer", "sgd"), COMPARE):
        ran = grng(*line, "--pretrained")
        assert ran.code == 2
        assert "the pretrained weights of test_vit.r160_in1k are not in the cache" in ran.err
        assert not snapshot(workdir)
        assert grng(*line, "--pretrained", "--dry-run").code == 0, "a dry run fetches nothing"
        assert not snapshot(workdir)


def test_pretrained_names_are_listed(grng: Call) -> None:
    listed = grng("models", "list", "test_vit*", "--pretrained")
    assert "test_vit.r160_in1k" in listed.out.splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r=8,alpha=16,target=qkv", {"r": 8, "alpha": 16, "target": "qkv"}),
        ("target=[qkv, proj] , dropout=0.1", {"target": ["qkv", "proj"], "dropout": 0.1}),
    ],
)
def test_the_form_of_lora(text: str, expected: dict[str, Any]) -> None:
    assert parse_lora(text) == expected


@pytest.mark.parametrize("text", ["", "r", "r=", "=4", "r=4,,", "r=4,r=5", "r=[4"])
def test_what_is_no_form_of_lora(text: str) -> None:
    with pytest.raises(GrngError) as caught:
        parse_lora(text)
    assert caught.value.where == "--lora"


@pytest.mark.slow
@pytest.mark.parametrize(("model", "optimizer", "epochs"), [("test_vit", "ring", 4), ("test_resnet", "adamw", 2)])
def test_what_was_learnt_on_one_data_set_helps_on_another(
    grng: Call, workdir: Path, model: str, optimizer: str, epochs: int
) -> None:
    common = ("train", "--model", model, "--optimizer", optimizer, "--threads", 1, "--no-tensorboard", "--json")
    assert grng(*common, "--dataset", "mnist5k", "--epochs", epochs, "--output", "source").code == 0
    again = (*common, "--dataset", "digits", "--epochs", 1)
    scratch = json.loads(grng(*again, "--output", "scratch").out)
    tuned = json.loads(grng(*again, "--output", "tuned", "--weights", "source/checkpoint/best.pt").out)
    assert tuned["weights"]["entry"] == "model"
    assert tuned["weights"]["loaded"] == tuned["weights"]["total"]
    assert tuned["pairing"]["batches_sha256"] == scratch["pairing"]["batches_sha256"]
    assert tuned["final"]["val_accuracy"] > scratch["final"]["val_accuracy"] + 0.1
    last = json.loads(grng(*again, "--output", "last", "--weights", "source/checkpoint/last.pt").out)
    assert last["weights"]["loaded"] == last["weights"]["total"]
