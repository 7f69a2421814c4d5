"""The model's section: what excludes what, what resolving fills in, and what makes another run of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from grng.errors import ConfigError
from grng.models.weights_file import weights_sha256
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.identity import run_id
from grng.runs.loading import dump_yaml, load_config, load_file


def config(**model: Any) -> RunConfig:
    return RunConfig.model_validate({"model": {"name": "test_vit", **model}, "optimizer": "sgd"})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(2)}, path)
    return path


def problem(*sets: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(RunConfig, sets=sets)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("model.weights=x.pt", "model.pretrained=true"), "weights and pretrained exclude each other; give one."),
        (("model.lora={r: 4}", "model.linear_probe=true"), "lora and linear_probe exclude each other; give one."),
        (("model.freeze=a", "model.linear_probe=true"), "freeze and linear_probe exclude each other; give one."),
        (
            ("model.drop_path=0.1", "model.kwargs={drop_path_rate: 0.1}"),
            "drop_path and kwargs.drop_path_rate exclude each other; give one.",
        ),
        (("model.weights_map=a=b",), "weights_map is about a file of weights, and there is none: set weights."),
        (("model.lora={rank: 4}",), "unknown key 'rank'. Allowed: r, alpha, target, dropout."),
        (("model.lora.r=0",), "must be at least 1, not 0."),
        (("model.lora.target=[]",), ""),
        (("model.drop_path=1.0",), "must be less than 1, not 1.0."),
        (("model.pretrained=1",), "must be true or false, not 1."),
        (("model.weights_sha256=abc", "model.weights=x"), ""),
        (("training.layer_decay=0",), "must be greater than 0, not 0."),
        (("training.layer_decay=1.5",), "must be at most 1, not 1.5."),
    ],
)
def test_what_does_not_go_together(sets: tuple[str, ...], message: str) -> None:
    assert message in problem(*sets)


def test_texts_stand_for_lists_of_one() -> None:
    model = load_config(
        RunConfig,
        sets=["model.freeze=blocks.*", "model.weights=x.pt", "model.weights_map=a.=", "model.lora={target: qkv}"],
    ).config.model
    assert (model.freeze, model.weights_map) == (["blocks.*"], ["a.="])
    assert model.lora is not None
    assert model.lora.model_dump() == {"r": 8, "alpha": 16.0, "target": ["qkv"], "dropout": 0.0}


def test_a_stronger_source_with_weights_replaces_pretrained_ones(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("model: {name: test_vit, pretrained: true}\n")
    loaded = load_config(RunConfig, files=[file], overrides=[("model.weights", "x.pt", "--weights")]).config
    assert (loaded.model.pretrained, str(loaded.model.weights)) == (False, "x.pt")


def test_another_models_weights_stay_behind(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("model: {name: test_vit, weights: x.pt, freeze: 'blocks.*'}\n")
    loaded = load_config(RunConfig, files=[file], overrides=[("model.name", "test_resnet", "--model")]).config
    assert (loaded.model.weights, loaded.model.freeze) == (None, [])


def test_resolving_writes_down_the_hash_and_the_tag(weights: Path) -> None:
    resolved = resolve(config(weights=str(weights)))
    assert resolved.model.weights_sha256 == weights_sha256(weights)
    assert resolve(resolved) == resolved
    tagged = resolve(config(pretrained=True))
    assert tagged.model.name == "test_vit.r160_in1k"
    assert resolve(tagged) == tagged


def test_the_written_config_is_the_same(weights: Path, tmp_path: Path) -> None:
    resolved = resolve(
        config(weights=str(weights), weights_map=["a=b"], freeze=["x"], drop_path=0.1, lora={"target": ["qkv"]})
    )
    (tmp_path / "config.yaml").write_text(dump_yaml(resolved))
    assert load_file(tmp_path / "config.yaml") == resolved


def test_a_file_that_has_changed_is_refused(weights: Path) -> None:
    resolved = resolve(config(weights=str(weights)))
    before = weights_sha256(weights)
    torch.save({"a": torch.ones(2)}, weights)
    with pytest.raises(ConfigError) as caught:
        resolve(resolved)
    assert str(caught.value) == (
        f"model.weights: {weights} is another file than is meant: its SHA-256 is {weights_sha256(weights)}, "
        f"not {before}. Put the file back that the run began with, or set model.weights_sha256=null for another run."
    )


def test_problems_are_told_where_they_were_given(tmp_path: Path) -> None:
    loaded = load_config(
        RunConfig,
        overrides=[("model.weights", str(tmp_path / "no.pt"), "--weights"), ("model.weights_map", ["a"], "-m")],
    )
    with pytest.raises(ConfigError) as caught:
        resolve(loaded.config, locate=loaded.locate)
    assert [found.where for found in caught.value.problems] == ["--weights", "-m"]


def test_the_content_makes_the_run_and_not_the_path(weights: Path, tmp_path: Path) -> None:
    first = resolve(config(weights=str(weights)))
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    assert run_id(resolve(config(weights=str(copy)))) == run_id(first)
    torch.save({"a": torch.ones(2)}, weights)
    assert run_id(resolve(config(weights=str(weights)))) != run_id(first)
    assert run_id(first) != run_id(resolve(config()))


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": ["head.*"]},
        {"linear_probe": True},
        {"drop_path": 0.1},
        {"lora": {}},
        {"lora": {"r": 4}},
        {"pretrained": True},
        {"pretrained": True, "name": "test_vit.r160_in1k", "linear_probe": True},
    ],
)
def test_everything_about_the_model_makes_another_run(changes: dict[str, Any]) -> None:
    assert run_id(resolve(config(**changes))) != run_id(resolve(config()))


def test_the_order_of_rules_makes_another_run(weights: Path) -> None:
    ids = {
        run_id(resolve(config(weights=str(weights), weights_map=rules))) for rules in (["a=b", "b=c"], ["b=c", "a=b"])
    }
    assert len(ids) == 2


def test_parameter_groups_make_another_run() -> None:
    plain = resolve(config())
    for changes in ({"layer_decay": 0.5}, {"no_decay": True}):
        assert run_id(replace(plain, training=replace(plain.training, **changes))) != run_id(plain)


def test_runs_done_before_keep_their_ids() -> None:
    """Keys that came later are no part of the id where they are not used: see the canonical text in test_identity."""
    explicit = config(pretrained=False, freeze=[], linear_probe=False, lora=None, drop_path=None)
    assert run_id(resolve(explicit)) == run_id(resolve(config()))
