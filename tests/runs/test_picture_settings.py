from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm.data

from grng.errors import ConfigError
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.identity import run_id

PLACE = "/somewhere/pictures"
SETTINGS: Any = timm.data.resolve_model_data_config


def config(**sections: Any) -> RunConfig:
    return RunConfig.model_validate({"dataset": {"name": "folder", "data_dir": PLACE}, **sections})


def problems(**sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(RunConfig.model_validate(sections))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("model", ["test_resnet", "resnet18", "vit_tiny_patch16_224"])
def test_the_models_data_settings_are_filled_in(model: str) -> None:
    dataset = resolve(config(model=model)).dataset
    theirs = SETTINGS(timm.create_model(model))
    assert dataset.img_size == theirs["input_size"][-1]
    assert dataset.mean == list(theirs["mean"])
    assert dataset.std == list(theirs["std"])
    assert (dataset.interpolation, dataset.crop_pct, dataset.crop_mode) == tuple(
        theirs[key] for key in ("interpolation", "crop_pct", "crop_mode")
    )
    assert (dataset.val_fraction, dataset.test_fraction, dataset.split_seed, dataset.channels) == (0.1, 0.1, 0, 3)


def test_what_is_given_stays() -> None:
    given = {"img_size": 48, "mean": [0.1], "std": [0.2], "channels": 1, "crop_pct": 0.5, "val_fraction": 0.3}
    dataset = resolve(config(dataset={"name": "folder", "data_dir": PLACE, **given})).dataset
    assert {key: getattr(dataset, key) for key in given} == given


def test_resolving_twice_changes_nothing_and_paths_become_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    once = resolve(config(dataset={"name": "TORCH/CIFAR10", "data_dir": "here"}))
    assert resolve(once) == once
    assert once.dataset.data_dir == tmp_path / "here"
    assert once.dataset.name == "torch/cifar10"
    assert (once.dataset.img_size, once.dataset.crop_pct) == (32, 1.0)
    assert once.training.target is None


def test_keys_that_change_no_loss_are_no_part_of_the_id() -> None:
    plain = resolve(config())
    for changes in ({"download": True}, {"strict": True}, {"in_memory": False}):
        dataset = replace(plain.dataset, **changes)
        if "download" not in changes:
            assert run_id(resolve(replace(plain, dataset=dataset))) == run_id(plain)
    torch_set = {"name": "torch/cifar10", "data_dir": PLACE}
    assert run_id(resolve(config(dataset={**torch_set, "download": True}))) == run_id(
        resolve(config(dataset=torch_set))
    )
    machine = {"data_workers": 3, "verify_data": False}
    assert run_id(resolve(config(machine=machine))) == run_id(plain)


@pytest.mark.parametrize(
    "sections",
    [
        {"dataset": {"name": "folder", "data_dir": PLACE, "split_seed": 1}},
        {"dataset": {"name": "folder", "data_dir": PLACE, "val_fraction": 0.2}},
        {"dataset": {"name": "folder", "data_dir": PLACE, "channels": 1}},
        {"dataset": {"name": "folder", "data_dir": PLACE + "2"}},
        {"augment": {"flip": 0.5}},
        {"augment": {"crop": "pad"}},
    ],
)
def test_keys_that_change_losses_are(sections: dict[str, Any]) -> None:
    assert run_id(resolve(config(**sections))) != run_id(resolve(config()))


def test_a_built_in_set_takes_none_of_it() -> None:
    hint = "Leave it out, or give a data set of files: --dataset folder, torch/cifar10, …"
    assert problems(dataset={"name": "digits", "data_dir": "x", "channels": 3}) == [
        f"dataset.data_dir: digits is built in and takes no data_dir. {hint}",
        f"dataset.channels: digits is built in and takes no channels. {hint}",
    ]
    (said,) = problems(dataset="digits", augment={"auto_augment": "original"})
    assert said.startswith("augment.auto_augment: auto_augment works on picture files; digits is built in.")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"dataset": "folder"},
            "dataset.data_dir: folder needs to be told the folder of the pictures. Give --data-dir DIR.",
        ),
        ({"dataset": "torch/mnist"}, "dataset.data_dir: torch/mnist needs to be told where its files are."),
        (
            {"dataset": {"name": "torch/cifer10", "data_dir": "x"}},
            "dataset.name: torchvision has no data set 'cifer10'",
        ),
        ({"dataset": "torch/"}, "dataset.name: the data set 'torch/' says nothing after the slash."),
        (
            {"dataset": {"name": "folder", "data_dir": "x", "download": True}},
            "dataset.download: folder cannot be downloaded.",
        ),
        (
            {"dataset": {"name": "folder", "data_dir": "x", "target_key": "y"}},
            "dataset.target_key: folder takes no target_key.",
        ),
        (
            {"dataset": {"name": "folder", "data_dir": "x", "mean": [0.5]}},
            "dataset.mean: must have one value a channel: 3, not 1.",
        ),
        ({"dataset": {"name": "folder", "data_dir": "x", "std": [0.0, 1.0, 1.0]}}, "dataset.std: must be positive."),
        (
            {"dataset": {"name": "folder", "data_dir": "x", "val_fraction": 0.6, "test_fraction": 0.5}},
            "dataset.val_fraction: val_fraction and test_fraction together leave nothing to train on.",
        ),
        (
            {"dataset": {"name": "folder", "data_dir": "x"}, "augment": {"scale": [0.9, 0.1]}},
            "augment.scale: the least must not be above the largest, not 0.9, 0.1.",
        ),
        (
            {"dataset": {"name": "folder", "data_dir": "x"}, "augment": {"auto_augment": "rnad"}},
            "augment.auto_augment: timm cannot take auto_augment 'rnad'",
        ),
        (
            {"dataset": {"name": "folder", "data_dir": "x", "in_memory": True}, "augment": {"crop": "resized"}},
            "dataset.in_memory: pictures that are kept in memory cannot have crop.",
        ),
    ],
)
def test_what_does_not_go_together_is_a_message(sections: dict[str, Any], said: str) -> None:
    (found,) = problems(**sections)
    assert found.startswith(said)
