"""Runs from loaded weights, with frozen parts, adapters and parameter groups: what they train, write and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from torch import nn

from grng.errors import GrngError, RunDirectoryError
from grng.models.weights_file import weights_sha256
from grng.optimizers import list_optimizers
from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.building import build_session
from grng.training.errors import Interrupted
from grng.training.events import Event, RunStarted
from grng.training.trainer import train
from tests.training.helpers import at_step, checkpoint, difference, interrupt_when, run_config, untimed

pytestmark = pytest.mark.usefixtures("small_data")

EVERY = [*(info.name for info in list_optimizers()), "timm:lion"]


def tuned(optimizer: Any = "sgd", *, name: str = "test_resnet", training: Any = None, **model: Any) -> RunConfig:
    """Return a run of 6 steps (one and a half epochs) on 32×32 digits."""
    return run_config(
        optimizer,
        model={"name": name, **model},
        dataset={"name": "digits", "img_size": 32},
        training={"steps": 6, "batch_size": 16, **(training or {})},
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "weights.pt"
    torch.manual_seed(5)
    torch.save({"state_dict": timm.create_model("test_resnet", num_classes=7).state_dict()}, path)
    return path


def test_the_result_says_what_was_loaded(tmp_path: Path, source: Path) -> None:
    events: list[Event] = []
    result = train(tuned(weights=str(source)), tmp_path / "run", listeners=[events.append])
    assert RunResult.load(tmp_path / "run" / "result.json") == result
    assert result.weights is not None
    assert result.weights.source == str(source)
    assert result.weights.sha256 == weights_sha256(source)
    assert result.weights.entry == "state_dict"
    assert result.weights.loaded == result.weights.total - 2
    assert [line.partition(":")[0] for line in result.weights.replaced] == ["fc.weight", "fc.bias"]
    assert [line.partition(":")[0] for line in result.weights.adapted] == ["conv1.0.weight"]
    assert (result.weights.missing, result.weights.unexpected) == ([], [])
    assert isinstance(events[0], RunStarted)
    assert events[0].notes[0] == (
        f"weights: {result.weights.loaded} of {result.weights.total} entries from {source} (its 'state_dict')"
    )
    assert train(tuned(), tmp_path / "fresh").weights is None


def test_the_first_step_is_at_the_loaded_weights(tmp_path: Path, source: Path) -> None:
    session = build_session(tuned(weights=str(source)))
    torch.manual_seed(5)
    expected = timm.create_model("test_resnet", num_classes=7).state_dict()
    for name, value in session.model.state_dict().items():
        if not name.startswith(("fc.", "conv1.0.")):
            assert torch.equal(value, expected[name]), name
    session.close()


def test_the_classifier_is_the_one_of_the_seed(source: Path) -> None:
    """Loading draws nothing: what stays new is what the same seed gives a fresh model."""
    fresh, loaded = build_session(tuned()), build_session(tuned(weights=str(source)))
    assert torch.equal(fresh.model.fc.weight, loaded.model.fc.weight)  # type: ignore[union-attr, arg-type]
    fresh.close()
    loaded.close()


def test_a_run_is_resumed_with_its_weights_and_refused_with_others(tmp_path: Path, source: Path) -> None:
    weights = tmp_path / "copy.pt"
    weights.write_bytes(source.read_bytes())
    config = tuned("ring", weights=str(weights), freeze=["layer1.*"], training={"layer_decay": 0.7, "no_decay": True})
    straight = train(config, tmp_path / "straight")
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", listeners=[interrupt_when(at_step(5))])
    resumed = train(config, tmp_path / "run")
    assert (resumed.resumed_from_step, resumed.final) == (5, straight.final)
    assert resumed.weights == straight.weights
    assert untimed(tmp_path / "run") == untimed(tmp_path / "straight")
    assert difference(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "straight")) is None
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(GrngError, match="is another file than is meant"):
        train(config, tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=r"holds another run .*: its model.weights_sha256 is"):
        train(
            tuned(
                "ring",
                weights=str(weights),
                freeze=["layer1.*"],
                training=config.training.model_dump(include={"layer_decay", "no_decay"}),
            ),
            tmp_path / "run",
        )


@pytest.mark.parametrize("optimizer", EVERY)
@pytest.mark.parametrize(
    ("name", "model", "prefixes"),
    [
        ("test_resnet", {"linear_probe": True}, ("fc.",)),
        ("test_resnet", {"freeze": ["conv1.*", "bn1.*", "layer[12].*"]}, ("layer3.", "layer4.", "fc.")),
        (
            "test_vit",
            {"freeze": ["patch_embed.*", "pos_embed", "cls_token", "blocks.[0-3].*"]},
            ("blocks.4.", "blocks.5.", "norm.", "head."),
        ),
    ],
)
def test_every_optimizer_leaves_frozen_parameters_and_their_statistics_alone(
    tmp_path: Path, optimizer: str, name: str, model: dict[str, Any], prefixes: tuple[str, ...]
) -> None:
    options = {"name": optimizer, **({"lr": 1e-3} if optimizer == "timm:lion" else {})}
    config = tuned(options, name=name, training={"steps": 3, "eval_every": 2}, **model)
    session = build_session(config)
    before = {key: value.clone() for key, value in session.model.state_dict().items()}
    session.close()
    result = train(config, tmp_path / "run")
    after = checkpoint(tmp_path / "run")["model"]
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert all(key.startswith(prefixes) for key in moved), sorted(moved)
    trained = {key for key, _ in session.model.named_parameters() if key.startswith(prefixes)}
    assert {key for key in trained if not key.endswith("attn.qkv.bias")} <= moved
    assert result.status == "finished"
    assert result.parameters.trainable == sum(before[key].numel() for key in trained)


def test_evaluation_does_not_wake_frozen_batch_norms(tmp_path: Path) -> None:
    session = build_session(tuned(linear_probe=True))
    norms = [module for module in session.model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    session.evaluate(session.data.val)
    assert not any(module.training for module in norms)
    assert session.model.training
    session.close()


@pytest.mark.parametrize("optimizer", ["adamw", "ring", "r-kalman"])
def test_adapters_are_resumed_bit_for_bit(tmp_path: Path, optimizer: str) -> None:
    pytest.importorskip("peft")
    lora = {"r": 2, "alpha": 4.0, "target": ["qkv"], "dropout": 0.1}
    config = tuned(optimizer, name="test_vit", lora=lora)
    straight = train(config, tmp_path / "straight")
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", listeners=[interrupt_when(at_step(3))])
    assert train(config, tmp_path / "run").final == straight.final
    assert difference(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "straight")) is None


def test_a_rate_of_stochastic_depth_reaches_the_blocks() -> None:
    session = build_session(tuned(name="test_vit", drop_path=0.3))
    rates = [
        float(cast(Any, module).drop_prob) for module in session.model.modules() if type(module).__name__ == "DropPath"
    ]
    assert max(rates) == pytest.approx(0.3)
    session.close()


def test_a_model_without_blocks_to_drop_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GrngError) as caught:
        train(tuned(name="vgg11", drop_path=0.1), tmp_path / "run")
    assert caught.value.where == "model.drop_path"
    assert caught.value.message == "the model vgg11 has no blocks that stochastic depth could drop."
    assert not (tmp_path / "run").exists()


def test_layer_decay_reaches_the_optimizer_and_the_schedule(tmp_path: Path) -> None:
    session = build_session(tuned({"name": "adamw", "lr": 0.01}, name="test_vit", training={"layer_decay": 0.5}))
    rates = sorted({group["lr"] for group in session.optimizer.param_groups})
    assert rates[-1] == pytest.approx(0.01)
    assert rates[0] == pytest.approx(0.01 * 0.5**7)
    for _ in range(4):
        session.progress.record_step(session.advance().loss)
    later = sorted({group["lr"] for group in session.optimizer.param_groups})
    assert [now / before for now, before in zip(later, rates, strict=True)] == pytest.approx(
        [later[-1] / 0.01] * len(rates)
    )
    assert later[-1] < 0.01
    session.close()
