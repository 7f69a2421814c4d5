"""Everything a user can get wrong: one message, exit 2, nothing written, no traceback; with the exact wording."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.cli.conftest import Call, Start, snapshot

CONFIGS: dict[str, str | bytes] = {
    "broken.yaml": "optimizer: [ring\n",
    "list.yaml": "- ring\n- adamw\n",
    "empty.yaml": "",
    "comment.yaml": "# nothing yet\n",
    "binary.yaml": b"\x00\xff\xfe\x93\x1b",
    "key.yaml": "seed: 1\n\ntraining:\n  epoch: 3\n",
    "section.yaml": "seed: 1\ntraning:\n  epochs: 3\n",
    "hyperparameter.yaml": "optimizer:\n  name: ring\n  rhoo: 1\n",
    "name.yaml": "model: test_vit\noptimizer: rign\n",
    "type.yaml": "training:\n  epochs: three\n",
    "range.yaml": "optimizer:\n  name: ring\n  rho: -1\n",
    "nan.yaml": "optimizer:\n  name: ring\n  lr: .nan\n",
    "optimizer-type.yaml": "optimizer: {name: ring, rho: strong}\n",
    "rows.yaml": "optimizers:\n  - adamw\n  - name: ring\n    rhoo: 1\n",
    "seeds.yaml": "seeds: many\n",
}
YAML_HINT = "\n hint: Write keys like `optimizer: ring`."


@pytest.fixture
def place(workdir: Path) -> Path:
    """The present directory, with bad configs, a file and somebody's directory in it."""
    for name, content in CONFIGS.items():
        (workdir / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (workdir / "file").write_text("mine\n")
    (workdir / "thesis").mkdir()
    (workdir / "thesis" / "thesis.tex").write_text("mine\n")
    return workdir


def refused(grng: Call, place: Path, line: str) -> str:
    """Return what `grng` says on stderr about a line that it must refuse."""
    before = snapshot(place)
    ran = grng(*[part.replace("~", " ") for part in line.split()])
    assert (ran.code, ran.out) == (2, "")
    assert snapshot(place) == before, "nothing is written"
    assert "Traceback" not in ran.err
    return ran.err


ONE_CONFIG = [
    ("train --config broken.yaml", "broken.yaml:2: is not valid YAML: expected ',' or ']', but got '<stream end>'."),
    ("train --config list.yaml", f"list.yaml:1: the file must be a mapping of keys to values, not a list.{YAML_HINT}"),
    ("train --config empty.yaml", f"empty.yaml: the file is empty.{YAML_HINT}"),
    ("train --config comment.yaml", f"comment.yaml: the file is empty.{YAML_HINT}"),
    ("train --config binary.yaml", "binary.yaml: the file is not text in UTF-8, so it is no config."),
    (
        "train --config key.yaml",
        "key.yaml:4 (training.epoch): unknown key 'epoch'.\n hint: Did you mean 'epochs'?",
    ),
    (
        "train --config section.yaml",
        "section.yaml:2 (traning): unknown key 'traning'.\n hint: Did you mean 'training'?",
    ),
    (
        "train --config hyperparameter.yaml",
        "hyperparameter.yaml:3 (optimizer.rhoo): ring has no hyperparameter 'rhoo'.\n hint: Did you mean 'rho'?",
    ),
    (
        "train --config name.yaml",
        "name.yaml:2 (optimizer.name): unknown optimizer 'rign'.\n hint: Did you mean 'ring'?\n next: grng optimizers list",
    ),
    (
        "train --config type.yaml",
        "type.yaml:2 (training.epochs): must be a whole number, not the text 'three'.",
    ),
    ("train --config range.yaml", "range.yaml:3 (optimizer.rho): must be a number, at least 0; got -1."),
    ("train --config nan.yaml", "nan.yaml:3 (optimizer.lr): must be a finite number, not nan."),
    (
        "train --config optimizer-type.yaml",
        "optimizer-type.yaml:1 (optimizer.rho): must be a number, at least 0; got 'strong'.",
    ),
    (
        "compare --config rows.yaml",
        "rows.yaml:4 (optimizers[1].rhoo): ring has no hyperparameter 'rhoo'.\n hint: Did you mean 'rho'?",
    ),
    (
        "compare --config seeds.yaml",
        "seeds.yaml:1 (seeds): must be a number of seeds from 1 to 10000, or a list of seeds, not 'many'.",
    ),
    (
        "compare --config hyperparameter.yaml",
        "hyperparameter.yaml:1 (optimizer): unknown key 'optimizer'.\n hint: Did you mean 'optimizers'?",
    ),
    ("config check key.yaml", "key.yaml:4 (training.epoch): unknown key 'epoch'.\n hint: Did you mean 'epochs'?"),
]

NAMES = [
    (
        "train --optimizer rign",
        "--optimizer: unknown optimizer 'rign'.\n hint: Did you mean 'ring'?\n next: grng optimizers list",
    ),
    (
        "train --dataset mnist",
        "--dataset: there is no data set 'mnist'.\n hint: Did you mean 'mnist5k' or 'torch/mnist'?\n next: grng datasets list",
    ),
    ("train --opt rhoo=1", "--opt rhoo: ring has no hyperparameter 'rhoo'.\n hint: Did you mean 'rho'?"),
    ("train --set traning.epochs=1", "--set traning.epochs: unknown key 'traning'.\n hint: Did you mean 'training'?"),
    (
        "train --schedule cosin",
        "--schedule: must be 'cosine', 'constant', 'linear' or 'step', not 'cosin'.\n hint: Did you mean 'cosine'?",
    ),
    ("train --device tpu", "--device: unknown device 'tpu'.\n hint: Use auto, cpu, cuda, cuda:1, … or mps."),
    (
        "compare --optimizers rign,adamw",
        "--optimizers rign: unknown optimizer 'rign'.\n hint: Did you mean 'ring'?\n next: grng optimizers list",
    ),
    (
        "compare --optimizers adamw,ring[rhoo=1]",
        "--optimizers ring[rhoo=1]: ring has no hyperparameter 'rhoo'.\n hint: Did you mean 'rho'?",
    ),
    (
        "compare --dataset mnist",
        "--dataset: there is no data set 'mnist'.\n hint: Did you mean 'mnist5k' or 'torch/mnist'?\n next: grng datasets list",
    ),
    (
        "compare --reference sgdd",
        "--reference: the reference 'sgdd' does not take part.\n hint: Did you mean 'sgd'?",
    ),
    ("optimizers show rign", "unknown optimizer 'rign'.\n hint: Did you mean 'ring'?\n next: grng optimizers list"),
]

VALUES = [
    ("train --opt rho=-1", "--opt rho: must be a number, at least 0; got -1."),
    ("train --opt lr=nan", "--opt lr: must be a finite number, not nan."),
    ("train --opt lr=fast", "--opt lr: must be a number, at least 0; got 'fast'."),
    ("train --opt rho", "--opt rho: must have the form NAME=VALUE."),
    ("train --epochs 0", "--epochs: must be at least 1, not 0."),
    ("train --epochs 1 --steps 1", "--steps: epochs and steps exclude each other; give one."),
    ("train --seed -1", "--seed: must be at least 0, not -1."),
    ("train --warmup -1", "--warmup: must be at least 0, not -1."),
    ("train --target 2", "--target: must be at most 1, not 2.0."),
    ("train --set training.epochs=0", "--set training.epochs: must be at least 1, not 0."),
    (
        "train --batch-size 4000",
        (
            "--batch-size: a batch of 4000 is larger than the training set of 3500 samples."
            "\n hint: Use a batch size of at most 3500."
        ),
    ),
    (
        "compare --batch-size 4000",
        (
            "--batch-size: a batch of 4000 is larger than the training set of 3500 samples."
            "\n hint: Use a batch size of at most 3500."
        ),
    ),
    ("compare --optimizers ring[rho=-1]", "--optimizers ring[rho=-1]: must be a number, at least 0; got -1."),
    (
        "compare --optimizers ring,ring",
        "--optimizers: 'ring' is there twice; give one of them another label or other hyperparameters.",
    ),
    ("compare --epochs 0", "--epochs: must be at least 1, not 0."),
    ("compare --epochs 1 --seconds 1", "--seconds: epochs and seconds exclude each other; give one."),
    ("compare --seconds 0", "--seconds: must be greater than 0, not 0.0."),
    ("compare --seeds 1,1", "--seeds: seed 1 is there twice."),
    ("compare --workers -1", "--workers: must be at least 0, not -1."),
    ("compare --threads-per-run 0", "--threads-per-run: must be at least 1, not 0."),
]

PLACES = [
    ("train --output file", "file: is a file, not a directory.\n hint: Choose another directory with --output."),
    (
        "train --output thesis",
        "thesis: holds something else (thesis.tex).\n hint: Choose another directory with --output.",
    ),
    ("compare --output file", "file: is a file, not a directory.\n hint: Choose another directory with --output."),
    (
        "compare --output thesis",
        "thesis: holds something else than an experiment (thesis.tex).\n hint: Choose another directory with --output.",
    ),
    ("compare --markdown thesis", "thesis: is a directory, not a file.\n hint: Add the file's name."),
    ("compare --csv no/x.csv", "no/x.csv: is in a directory that does not exist.\n hint: Make it first."),
    ("report nowhere", "nowhere: does not exist\n hint: Give an experiment's or a run's directory."),
    (
        "report thesis",
        (
            "thesis: holds neither an experiment nor a run\n"
            " hint: Looked in it and below for experiment.yaml, result.json, metrics.jsonl, and a run's config.yaml."
        ),
    ),
]

EXPECTATIONS = [
    (
        "compare --expect ring.test_accuracy~>",
        (
            "--expect: expected a row's field, a number or (\n    ring.test_accuracy >\n                        ^\n"
            " hint: Write it like 'ring.test_accuracy > adamw.test_accuracy - 0.02'."
        ),
    ),
    (
        "compare --expect rng.test_accuracy~>~0",
        "--expect: there is no row 'rng'\n    rng.test_accuracy > 0\n    ^\n hint: Did you mean 'ring' or 'reng'?",
    ),
    (
        "compare --expect ring.test_loos~>~0",
        (
            "--expect: a row has no field 'test_loos'\n    ring.test_loos > 0\n         ^\n"
            " hint: Did you mean 'test_loss' or 'test_loss_low' or 'test_loss_high'?"
        ),
    ),
]


@pytest.mark.parametrize(("line", "message"), ONE_CONFIG + NAMES + VALUES + PLACES + EXPECTATIONS)
def test_one_message(grng: Call, place: Path, line: str, message: str) -> None:
    assert refused(grng, place, line) == f"error: {message}\n"


def test_an_unknown_model_has_near_names(grng: Call, place: Path) -> None:
    said = refused(grng, place, "train --model test_vitt")
    assert said.startswith("error: --model: timm has no model 'test_vitt'.\n hint: Did you mean 'test_vit' or ")
    assert said.endswith("\n next: grng models list\n")
    assert refused(grng, place, "compare --model test_vitt") == said, "once, not once a row"


def test_several_problems_are_told_at_once(grng: Call, place: Path) -> None:
    line = "compare --optimizers ring[rho=-1],rign,adamw[lr=nan] --epochs 0"
    assert refused(grng, place, line).splitlines() == [
        "error: --optimizers: must be a finite number, not nan.",
        "error: --epochs: must be at least 1, not 0.",
    ]
    assert refused(grng, place, "compare --optimizers ring[rho=-1],rign").splitlines() == [
        "error: --optimizers ring[rho=-1]: must be a number, at least 0; got -1.",
        "error: --optimizers rign: unknown optimizer 'rign'.",
        " hint: Did you mean 'ring'?",
        " next: grng optimizers list",
    ]


def test_a_missing_config_says_what_lists_the_shipped_ones(grng: Call, place: Path) -> None:
    assert refused(grng, place, "train --config thesis").startswith("error: thesis: it is a directory, not a config")
    said = refused(grng, place, "train --config nope.yaml")
    assert said.splitlines() == [
        "error: nope.yaml: there is no such file or shipped config.",
        " hint: Give a YAML file, or a shipped config's name.",
        " next: grng config list",
    ]


@pytest.mark.parametrize("command", ["train", "compare"])
def test_an_image_size_that_the_model_cannot_take(grng: Call, place: Path, command: str) -> None:
    said = refused(grng, place, f"{command} --model test_vit --img-size 30")
    assert said.startswith("error: the model test_vit cannot take images of 30×30 pixels: ")
    assert said.endswith("\n hint: Set another dataset.img_size (--img-size): 224 suits most. Or is it model.kwargs?\n")


@pytest.mark.parametrize("command", ["train", "compare --optimizers sgd"])
def test_classes_that_the_model_cannot_have(
    grng: Call, place: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    import timm

    fixed = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 1000))
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: fixed)
    assert refused(grng, place, command) == (
        "error: the model test_resnet cannot tell 10 classes apart: for one image it gives [1, 1000], not [1, 10].\n"
    )


@pytest.mark.parametrize(
    ("command", "where"), [("train", "locked/x"), ("compare --optimizers sgd", "locked/x/sgd/seed0")]
)
def test_a_directory_that_is_not_writable(
    grng: Call, place: Path, monkeypatch: pytest.MonkeyPatch, command: str, where: str
) -> None:
    locked = place / "locked"
    locked.mkdir()
    real = os.access
    # By os.access, since root may write where nobody may.
    monkeypatch.setattr(os, "access", lambda path, *rest: Path(path) != locked and real(path, *rest))
    assert refused(grng, place, f"{command} --output {locked}/x") == (
        f"error: {place}/{where}: is not writable: {locked} is not.\n"
        " hint: Choose another directory with --output, or change its permissions.\n"
    )


@pytest.mark.parametrize(
    ("command", "where"), [("train --steps 1", "x/config.yaml"), ("compare --optimizers sgd", "x/experiment.yaml")]
)
def test_a_full_disk(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch, command: str, where: str) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ran = grng(*command.split(), "--output", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(
        f"error: {where}: no space left on the disk.\n"
        " hint: Free some space, then give the same command again: it resumes.\n"
    )
    assert not [name for name in snapshot(workdir) if not name.endswith("/")]


def test_a_number_in_exponent_form_is_a_number(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "run.yaml").write_text("optimizer: {name: adamw, lr: 1e-3}\n")
    shown = grng("config", "show", "run.yaml")
    assert shown.code == 0
    assert "lr: 0.001\n" in shown.out


@pytest.mark.parametrize("line", [["train", "--epochs", "x"], ["compare", "--seconds", "x"], ["train", "--nope"]])
def test_typers_own_refusals_are_alike(grng: Call, workdir: Path, line: list[str]) -> None:
    ran = grng(*line)
    assert (ran.code, ran.out) == (2, "")
    assert f"Usage: grng {line[0]}" in ran.err
    assert not list(workdir.iterdir())


@pytest.mark.parametrize("line", [["train", "--opt", "rho=-1"], ["compare", "--expect", "rng.n > 0"]])
def test_the_real_command_says_the_same(process: Start, workdir: Path, line: list[str]) -> None:
    running = process(*line)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, out) == (2, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert not list(workdir.iterdir())


def test_an_option_of_the_wrong_command_is_named(grng: Call, workdir: Path) -> None:
    ran: Any = grng("compare", "--seed", 3)
    assert ran.code == 2
    assert "No such option: --seed" in ran.err
