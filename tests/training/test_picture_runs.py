"""Whole runs on pictures in files: every optimizer, resuming within an epoch, what results say of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grng.errors import GrngError
from grng.optimizers import list_optimizers
from grng.runs.config import RunConfig, resolve
from grng.runs.rundir import RunDirectory
from grng.training.calibrate import measure_step_seconds
from grng.training.errors import Interrupted
from grng.training.events import RunStarted
from grng.training.trainer import train
from tests.data.makers import image_folder, spoil
from tests.training.helpers import at_step, checkpoint, difference, interrupt_when, untimed

AUGMENT = {
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "flip": 0.5,
    "random_erasing": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
}
OPTIMIZERS = [info.name for info in list_optimizers()] + ["timm:lamb"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    image_folder(root / "train", {"red": 20, "blue": 20}, suffix=".jpg", size=(30, 40))
    image_folder(root / "test", {"red": 3, "blue": 4}, suffix=".jpg", size=(30, 40))
    return root


def config_of(folder: Path, optimizer: Any = "sgd", *, workers: int = 0, **sections: Any) -> RunConfig:
    dataset = {"name": "folder", "data_dir": str(folder), "img_size": 32} | sections.pop("dataset", {})
    return resolve(
        RunConfig.model_validate(
            {
                "model": {"name": "test_resnet", "kwargs": {"drop_rate": 0.2}},
                "dataset": dataset,
                "optimizer": optimizer,
                "training": {"batch_size": 8, "steps": 10, "eval_every": 3},
                "augment": AUGMENT,
                "logging": {"log_every": 2, "tensorboard": False, "checkpoint_seconds": 1e6},
                "machine": {"device": "cpu", "data_workers": workers},
                **sections,
            }
        )
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_from_pictures(folder: Path, tmp_path: Path, optimizer: str) -> None:
    config = config_of(folder, optimizer, augment={"flip": 0.5, "crop": "pad", "random_erasing": 0.2})
    result = train(config, tmp_path / "run")
    assert result.status == "finished"
    assert result.steps == 10
    assert (result.data.train, result.data.val, result.data.test) == (36, 4, 7)
    assert result.data.classes == ["blue", "red"]
    assert result.data.in_memory is True


@pytest.mark.parametrize(("first", "second"), [(0, 2), (2, 0)])
def test_an_interrupted_run_goes_on_bit_for_bit_within_an_epoch(
    folder: Path, tmp_path: Path, first: int, second: int
) -> None:
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    train(config_of(folder, "ring"), straight)
    with pytest.raises(Interrupted):
        train(config_of(folder, "ring", workers=first), cut, listeners=[interrupt_when(at_step(6))])
    result = train(config_of(folder, "ring", workers=second), cut)
    assert result.resumed_from_step == 6
    assert result.data.in_memory is False
    assert untimed(cut) == untimed(straight)
    assert difference(checkpoint(cut), checkpoint(straight)) is None


def test_memory_and_files_train_alike(folder: Path, tmp_path: Path) -> None:
    augment = {"flip": 0.5, "crop": "pad", "random_erasing": 0.5}
    for name, held in (("held", True), ("read", False)):
        config = config_of(folder, dataset={"in_memory": held}, augment=augment)
        assert train(config, tmp_path / name).data.in_memory is held
    assert untimed(tmp_path / "held") == untimed(tmp_path / "read")


def test_bad_pictures_are_told_and_counted(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "pictures", {"red": 20, "blue": 20, "green": 0}, size=(20, 20))
    spoil(root / "red" / "004.png", "text")
    events: list[Any] = []
    result = train(config_of(root, augment={}), tmp_path / "run", listeners=[events.append])
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    assert started.warnings == (
        f"'green' in {root} has no pictures: left out, and no class of the model",
        "1 picture cannot be read and is left out: red/004.png: cannot identify image file",
    )
    assert result.data.skipped == 1
    assert result.data.skipped_pictures == ["red/004.png: cannot identify image file"]
    assert (result.data.train, result.data.val, result.data.test) == (31, 4, 4)
    assert result.data.data_dir == str(root)


def test_a_run_does_not_go_on_with_other_pictures(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "pictures", {"red": 30, "blue": 30}, size=(20, 20))
    config, directory = config_of(root), tmp_path / "run"
    with pytest.raises(Interrupted):
        train(config, directory, listeners=[interrupt_when(at_step(3))])
    image_folder(root, {"red": 1}, first=77, size=(20, 20))
    with pytest.raises(GrngError, match=r"the pictures are not those that this run began with"):
        train(config, directory)
    assert train(config, directory, on_existing="rerun").status == "finished"


def test_a_run_that_cannot_begin_writes_nothing(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "pictures", {"red": 20, "blue": 20}, size=(20, 20))
    spoil(root / "red" / "004.png", "text")
    with pytest.raises(GrngError, match="1 of the pictures cannot be read"):
        train(config_of(root, dataset={"strict": True}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_waiting_for_pictures_is_in_the_steps_time(folder: Path, tmp_path: Path) -> None:
    result = train(config_of(folder), tmp_path / "run")
    assert result.time.data_ms is not None
    assert result.time.data_ms > 0.2, "eight pictures are decoded and changed in it"
    assert measure_step_seconds(config_of(folder, workers=1), steps=4) > 0


def test_the_written_config_does_the_run_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grng.runs.loading import load_file

    monkeypatch.chdir(folder.parent)
    train(config_of(Path(folder.name)), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    written = load_file(RunDirectory(tmp_path / "run").config_file)
    assert written.dataset.data_dir == folder
    train(written, tmp_path / "again")
    assert untimed(tmp_path / "again") == untimed(tmp_path / "run")
