"""Data sets of files from the command line: what works, and what a user can get wrong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call, snapshot
from tests.data.makers import cifar, image_folder, spoil

SHORT = ("--steps", 3, "--batch-size", 8, "--img-size", 32, "--model", "test_vit", "--data-workers", 0)


@pytest.fixture
def pictures(workdir: Path) -> Path:
    return image_folder(workdir / "pictures", {"red": 15, "blue": 15})


def test_a_folder_is_trained_on(grng: Call, pictures: Path) -> None:
    spoil(pictures / "red" / "003.png", "truncated")
    line = ("train", "--dataset", "folder", "--data-dir", "pictures", "--optimizer", "adamw", *SHORT)
    ran = grng(*line, "--flip", 0.5, "--crop", "pad", "--random-erasing", 0.2, "--json", "--output", "run")
    assert ran.code == 0
    assert "warning: 1 picture cannot be read and is left out: red/003.png: " in ran.err
    result: Any = json.loads(ran.out)
    assert result["data"]["skipped"] == 1
    assert result["data"]["classes"] == ["blue", "red"]
    assert (result["data"]["train"], result["data"]["val"], result["data"]["test"]) == (23, 3, 3)
    again = grng("train", "--config", "run/config.yaml", "--output", "run", "--json")
    assert "reused" in again.err
    assert json.loads(again.out) == result


def test_the_summary_names_the_folder(grng: Call, pictures: Path) -> None:
    ran = grng("train", "--dataset", "folder", "--data-dir", "pictures", "--optimizer", "sgd", *SHORT)
    assert ran.code == 0
    assert f"--dataset folder --data-dir {pictures}" in ran.out


def test_optimizers_are_compared_on_a_folder(grng: Call, pictures: Path) -> None:
    spoil(pictures / "red" / "003.png", "text")
    line = (
        "compare",
        "--dataset",
        "folder",
        "--data-dir",
        "pictures",
        "--optimizers",
        "sgd,ring",
        "--seeds",
        2,
        *SHORT,
    )
    dry = grng(*line, "--workers", 0, "--auto-augment", "rand-m9-mstd0.5-inc1", "--dry-run", "--json")
    assert dry.code == 0
    assert len(json.loads(dry.out)["runs"]) == 4
    ran = grng(*line, "--workers", 0, "--auto-augment", "rand-m9-mstd0.5-inc1", "--output", "out", "--json")
    assert ran.code == 0
    assert ran.err.count("warning: 1 picture cannot be read") == 1, "once, not once a run"
    results = [json.loads(path.read_text()) for path in (Path.cwd() / "out").rglob("result.json")]
    assert len(results) == 4
    assert len({result["pairing"]["batches_sha256"] for result in results}) == 2, "paired by seed"
    assert len({result["data"]["sha256"] for result in results}) == 1


@pytest.mark.slow
def test_comparisons_read_in_their_workers(grng: Call, pictures: Path) -> None:
    line = ("compare", "--dataset", "folder", "--data-dir", "pictures", "--optimizers", "sgd,adamw", "--seeds", 1)
    short = ("--batch-size", 8, "--img-size", 32, "--model", "test_vit", "--set", "dataset.in_memory=false")
    ran = grng(*line, *short, "--data-workers", 1, "--workers", 1, "--seconds", 0.3, "--output", "out", "--json")
    assert ran.code == 0
    assert {row["n"] for row in json.loads(ran.out)["rows"]} == {1}


def test_cifar_from_its_files(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar(workdir / "data", monkeypatch, train=100, test=20)
    line = ("train", "--dataset", "torch/cifar10", "--data-dir", "data", "--optimizer", "sgd", "--model", "test_resnet")
    ran = grng(*line, "--steps", 2, "--batch-size", 8, "--json")
    assert ran.code == 0
    data = json.loads(ran.out)["data"]
    assert (data["train"], data["val"], data["test"], data["in_memory"]) == (90, 10, 20, True)


def test_the_doors_are_listed(grng: Call) -> None:
    ran = grng("datasets", "list")
    for name in (" folder ", " torch/NAME ", " hfds/NAME ", " tfds/NAME ", " wds/NAME "):
        assert name in ran.out
    names = {row["name"] for row in json.loads(grng("datasets", "list", "--json").out)}
    assert {"mnist5k", "folder", "hfds/NAME"} <= names


def refused(grng: Call, workdir: Path, *line: object) -> str:
    """Return what is said about a line that must be refused."""
    before = snapshot(workdir)
    ran = grng(*line)
    assert (ran.code, ran.out) == (2, "")
    assert snapshot(workdir) == before, "nothing is written"
    assert "Traceback" not in ran.err
    assert ran.err.startswith("error: ")
    return ran.err


COMMANDS = [("train", "--optimizer", "sgd"), ("compare", "--optimizers", "sgd", "--workers", "0")]


@pytest.fixture(params=COMMANDS, ids=["train", "compare"])
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    line: tuple[str, ...] = request.param
    return line


def test_folders_that_do_not_do(grng: Call, workdir: Path, command: tuple[str, ...]) -> None:
    folder = (*command, "--dataset", "folder", *SHORT)
    assert refused(grng, workdir, *folder) == (
        "error: dataset.data_dir: folder needs to be told the folder of the pictures.\n hint: Give --data-dir DIR.\n"
    )
    assert refused(grng, workdir, *folder, "--data-dir", "none") == (
        f"error: --data-dir: there is no folder {workdir / 'none'}.\n"
    )
    (workdir / "empty").mkdir()
    assert refused(grng, workdir, *folder, "--data-dir", "empty").startswith(
        f"error: --data-dir: {workdir / 'empty'} has no pictures in folders below it.\n hint: Read are .png, .jpg"
    )
    image_folder(workdir / "one", {"red": 5})
    assert refused(grng, workdir, *folder, "--data-dir", "one") == (
        f"error: --data-dir: {workdir / 'one'} has only one class, 'red': there is nothing to tell apart.\n"
        " hint: Put the pictures of every class into a folder of its own: cat/1.jpg, dog/2.jpg, …\n"
    )
    image_folder(workdir / "differ" / "train", {"red": 5, "blue": 5})
    image_folder(workdir / "differ" / "val", {"red": 5, "bleu": 5})
    assert refused(grng, workdir, *folder, "--data-dir", "differ") == (
        f"error: --data-dir: 'bleu' in {workdir}/differ/val is not among the classes of {workdir}/differ/train.\n"
        " hint: The classes of training are 'blue', 'red'.\n"
    )


def test_settings_that_do_not_fit_the_pictures(grng: Call, pictures: Path, command: tuple[str, ...]) -> None:
    workdir = pictures.parent
    folder = (*command, "--dataset", "folder", "--data-dir", "pictures")
    assert refused(grng, workdir, *folder, "--batch-size", 100) == (
        "error: --batch-size: a batch of 100 is larger than the training set of 22 samples.\n"
        " hint: Use a batch size of at most 22.\n"
    )
    assert refused(grng, workdir, *folder, "--batch-size", 8, "--model", "test_vit", "--img-size", 30).startswith(
        "error: the model test_vit cannot take images of 30×30 pixels: "
    )
    assert refused(grng, workdir, *folder, "--auto-augment", "rnad").startswith(
        "error: --auto-augment: timm cannot take auto_augment 'rnad'"
    )
    assert refused(grng, workdir, *folder, "--flip", 2) == "error: --flip: must be at most 1, not 2.0.\n"
    assert refused(grng, workdir, *folder, "--crop", "round").startswith("error: --crop: must be ")
    shutil.rmtree(pictures / "red")
    (pictures / "red").mkdir()
    image_folder(pictures, {"green": 5})
    assert refused(grng, workdir, *folder, "--strict-data") == (
        f"error: --data-dir: 'red' in {pictures} has no pictures.\n"
        " hint: Remove what is empty, or leave --strict-data out.\n"
    )


def test_strict_data_refuses_a_bad_picture(grng: Call, pictures: Path, command: tuple[str, ...]) -> None:
    spoil(pictures / "blue" / "001.png", "empty")
    line = (*command, "--dataset", "folder", "--data-dir", "pictures", *SHORT, "--strict-data")
    assert refused(grng, pictures.parent, *line) == (
        "error: --data-dir: 1 of the pictures cannot be read: blue/001.png: cannot identify image file.\n"
        " hint: Mend or remove them, or leave --strict-data out.\n"
    )


def test_doors_that_lead_nowhere(
    grng: Call, workdir: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(grng, workdir, *command, "--data-dir", "x").startswith(
        "error: --data-dir: mnist5k is built in and takes no data_dir.\n hint: Leave it out, or "
    )
    assert refused(grng, workdir, *command, "--dataset", "torch/cifar11", "--data-dir", "x").startswith(
        "error: --dataset: torchvision has no data set 'cifar11' that grng knows.\n hint: Did you mean 'cifar10'"
    )
    assert refused(grng, workdir, *command, "--dataset", "cifar10").startswith(
        "error: --dataset: there is no data set 'cifar10'.\n hint: Did you mean 'torch/cifar10'?\n"
    )
    assert refused(grng, workdir, *command, "--dataset", "torch/cifar10", "--data-dir", "x").startswith(
        f"error: --data-dir: torch/cifar10 is not in {workdir / 'x'}, or is damaged there.\n hint: Give --download "
    )
    locked = workdir / "locked"
    locked.mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, *rest: Path(path) != locked and real(path, *rest))
    download = (*command, "--dataset", "torch/cifar10", "--data-dir", "locked/x", "--download")
    assert refused(grng, workdir, *download).startswith(
        f"error: --data-dir: nothing can be downloaded to {locked / 'x'}: {locked} is not writable.\n"
    )
    before = snapshot(workdir)
    dry = grng(*command, "--dataset", "torch/cifar10", "--data-dir", "y", "--download", "--dry-run", "-q")
    assert (dry.code, "not measured: torch/cifar10 is not in" in dry.out) == (0, True)
    assert snapshot(workdir) == before, "a dry run downloads nothing"


def test_a_door_without_its_package(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refused(grng, workdir, "train", "--dataset", "hfds/x") == (
        "error: --dataset: Hugging Face data sets need the package datasets.\n hint: Install it: pip install 'grng[hf]'.\n"
    )
