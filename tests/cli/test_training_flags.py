"""The training features on both command lines: what a flag sets, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch._inductor.config
import yaml

from tests.cli.conftest import TINY, Call

FLAGS = (
    *("--loss", "bce", "--grad-accum", 2, "--clip-grad", 1, "--ema", 0.9, "--precision", "bf16"),
    *("--mixup", 0.2, "--cutmix", 1, "--label-smoothing", 0.1, "--channels-last"),
)


def test_a_comparison_hands_every_flag_to_every_run(grng: Call, workdir: Path) -> None:
    ran = grng(
        *("compare", *TINY, "--optimizers", "adamw,ring", "--seeds", 1, "--workers", 0, "--output", "x"),
        *FLAGS,
        *("--set", "training.ema_warmup=true", "--set", "augment.mixup_prob=0.5"),
    )
    assert ran.code == 0, ran.err
    for name in ("adamw", "ring"):
        config = yaml.safe_load(Path("x", name, "seed0", "config.yaml").read_text())
        training = {"loss": "bce", "grad_accum": 2, "clip_grad": 1.0, "ema": 0.9, "precision": "bf16"}
        assert {**training, "ema_warmup": True}.items() <= config["training"].items()
        augment = {"mixup": 0.2, "cutmix": 1.0, "mixup_prob": 0.5, "label_smoothing": 0.1}
        assert augment.items() <= config["augment"].items()
        assert config["machine"]["channels_last"] is True
        assert config["optimizer"].get("likelihood", "bernoulli") == "bernoulli"


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--grad-accum", 5), "--grad-accum: 5 micro-batches do not divide a batch of 16.\n hint: The nearest is 4."),
        (("--clip-grad", 0), "--clip-grad: must be greater than 0, not 0.0."),
        (("--ema", 1), "--ema: must be less than 1, not 1.0."),
        (("--precision", "fp8"), "--precision: must be 'fp32', 'bf16' or 'fp16', not 'fp8'."),
        (("--loss", "bec"), "--loss: must be 'auto', 'ce', 'bce' or 'mse', not 'bec'.\n hint: Did you mean 'bce'"),
        (("--mixup", -1), "--mixup: must be at least 0, not -1.0."),
        (("--label-smoothing", 1), "--label-smoothing: must be less than 1, not 1.0."),
        (("--batch-size", 15, "--cutmix", 1), "--batch-size: images are mixed in pairs, and a batch of 15 is odd."),
        (("--schedule", "step"), "--schedule: the schedule 'step' needs the steps between two falls."),
    ],
)
def test_what_cannot_be_is_one_message_and_nothing_is_written(
    command: str, flags: tuple[object, ...], message: str, grng: Call, workdir: Path
) -> None:
    workload = TINY if "--batch-size" not in flags else ("--steps", 3, "--dataset", "digits")
    ran = grng(command, *workload, *flags, "--output", "x")
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert not list(workdir.iterdir())


def test_an_optimizer_that_cannot_be_compiled(grng: Call, workdir: Path) -> None:
    ran = grng("train", *TINY, "--optimizer", "reng", "--compile", "--output", "x")
    assert ran.code == 2
    assert "reng differentiates twice here, and a compiled model has no double backward." in ran.err
    assert "hvp=finite_difference" in ran.err
    assert not list(workdir.iterdir())


def test_the_likelihood_of_another_loss(grng: Call, workdir: Path) -> None:
    ran = grng("train", *TINY, "--optimizer", "ring", "--opt", "likelihood=categorical", "--loss", "bce")
    assert ran.code == 2
    assert "--opt likelihood: the likelihood 'categorical' is not that of the loss 'bce'" in ran.err
    assert not list(workdir.iterdir())


@pytest.mark.parametrize("command", ["train", "compare"])
def test_help_names_every_flag(command: str, grng: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = grng(command, "--help").out
    for flag in (*(str(flag) for flag in FLAGS if str(flag).startswith("--")), "--compile"):
        assert flag in text


@pytest.mark.parametrize("command", [("train",), ("compare", "--optimizers", "sgd,adamw")], ids=["train", "compare"])
def test_no_compiler_is_said_before_any_run(command: tuple[str, ...], grng: Call, workdir: Path) -> None:
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        ran = grng(*command, *TINY, "--compile", "--output", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: --compile: torch.compile needs a C++ compiler, and none was found that works.\n"
        " hint: Install one (on Debian: apt install g++), or leave out machine.compile (--compile).\n"
    )
    assert not (workdir / "x").exists()
