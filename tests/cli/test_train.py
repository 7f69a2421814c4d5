"""`grng train`: every flag arrives, and every way in which a run can end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grng.runs.result import RunResult
from tests.cli.conftest import TINY, Call, snapshot

LINE = ("train", *TINY, "--threads", 1, "--output", "x")


def written(directory: str = "x") -> dict[str, Any]:
    return dict(yaml.safe_load(Path(directory, "config.yaml").read_text()))


def test_every_flag_reaches_the_config(grng: Call, workdir: Path) -> None:
    (workdir / "base.yaml").write_text(
        "training: {epochs: 7, batch_size: 8, warmup: 9}\noptimizer: {name: adamw, lr: 1}\n"
    )
    ran = grng(
        *("train", "--config", "base.yaml", "--model", "test_vit", "--dataset", "digits", "--img-size", 32),
        *("--optimizer", "ring", "--opt", "rho=0.1", "--opt", "damping=1e-2", "--seed", 5, "--steps", 3),
        *("--batch-size", 16, "--schedule", "linear", "--warmup", 1, "--eval-every", 1, "--target", 0.5),
        *("--device", "cpu", "--threads", 1, "--checkpoint-every", 1, "--no-tensorboard", "--output", "x"),
        *("--set", "logging.log_every=1", "--set", "label=mine", "--set", "training.warmup=2"),
    )
    assert ran.code == 0, ran.err
    config = written()
    assert (config["label"], config["seed"], config["model"]["name"]) == ("mine", 5, "test_vit")
    assert (config["dataset"]["name"], config["dataset"]["img_size"]) == ("digits", 32)
    optimizer = config["optimizer"]
    assert (optimizer["name"], optimizer["rho"], optimizer["damping"]) == ("ring", 0.1, 0.01)
    assert optimizer["lr"] != 1, "another optimizer's hyperparameters stay behind"
    training = config["training"]
    assert (training["epochs"], training["steps"], training["batch_size"]) == (None, 3, 16)
    assert (training["schedule"], training["warmup"], training["eval_every"]) == ("linear", 2, 1), "--set wins"
    assert training["target"] == 0.5
    assert (config["machine"]["device"], config["machine"]["threads"]) == ("cpu", 1)
    assert (config["logging"]["log_every"], config["logging"]["checkpoint_every"]) == (1, 1)
    assert not list(Path("x").glob("events.out.tfevents.*"))
    result = RunResult.load(Path("x/result.json"))
    assert (result.label, result.seed, result.steps, result.batch_size) == ("mine", 5, 3, 16)


def test_every_flag_of_the_training_features_reaches_the_config(grng: Call, workdir: Path) -> None:
    ran = grng(
        *LINE,
        *("--optimizer", "sgd", "--loss", "bce", "--grad-accum", 2, "--clip-grad", 1, "--ema", 0.9),
        *("--precision", "bf16", "--mixup", 0.2, "--cutmix", 1, "--label-smoothing", 0.1, "--channels-last"),
        *("--no-compile", "--set", "training.ema_warmup=true", "--set", "augment.mixup_prob=0.5"),
    )
    assert ran.code == 0, ran.err
    config = written()
    training = {"loss": "bce", "grad_accum": 2, "clip_grad": 1.0, "ema": 0.9, "ema_warmup": True, "precision": "bf16"}
    assert training.items() <= config["training"].items()
    mixing = {"mixup": 0.2, "cutmix": 1.0, "mixup_prob": 0.5, "mixup_switch_prob": 0.5, "label_smoothing": 0.1}
    assert mixing.items() <= config["augment"].items()
    assert (config["machine"]["compile"], config["machine"]["channels_last"]) == (False, True)


def test_the_summary(grng: Call, workdir: Path) -> None:
    ran = grng(*LINE, "--optimizer", "ring")
    assert ran.code == 0, ran.err
    result = RunResult.load(Path("x/result.json"))
    assert ran.out.startswith("ring on digits, test_vit, seed 0\n")
    for text in (
        f" test accuracy   {result.final.test_accuracy:.3f}\n",
        " steps           3 of 3\n",
        " target          0.9 val. accuracy: not reached\n",
        "\nresults:      x\nTensorBoard:  tensorboard --logdir x\n",
        "\ncompare:      grng compare --optimizers adamw,ring --model test_vit --dataset digits\n",
    ):
        assert text in ran.out
    said = ran.err.splitlines()
    assert "of parameters Kronecker" in said[0], "coverage is told before training"
    assert said[1].startswith("epoch 1/1: step 3, train loss ")
    assert "\x1b" not in ran.out + ran.err


def test_json_is_the_result_and_nothing_else(grng: Call, workdir: Path) -> None:
    ran = grng(*LINE, "--optimizer", "sgd", "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == json.loads(Path("x/result.json").read_text())


def test_quiet_is_one_line(grng: Call, workdir: Path) -> None:
    ran = grng(*LINE, "--optimizer", "sgd", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("sgd, seed 0: test accuracy 0.")
    assert ran.out.count("\n") == 1


def test_the_same_line_again_reuses_and_rerun_does_not(grng: Call, workdir: Path) -> None:
    line = (*LINE, "--optimizer", "sgd")
    first = grng(*line)
    before = snapshot(workdir)
    again = grng(*line)
    assert (again.code, again.out) == (0, first.out)
    assert again.err == "reused: this run has ended before, x holds it (do it again with --rerun)\n"
    assert snapshot(workdir) == before
    result = RunResult.load(Path("x/result.json"))
    assert grng(*line, "--rerun").code == 0
    rerun = RunResult.load(Path("x/result.json"))
    assert rerun.created > result.created
    assert rerun.final == result.final


def test_the_written_config_reproduces_the_run(grng: Call, workdir: Path) -> None:
    assert grng(*LINE, "--optimizer", "ring", "--opt", "rho=0.3").code == 0
    assert grng("train", "--config", "x/config.yaml", "--output", "y", "--quiet").code == 0
    first, second = (RunResult.load(Path(name, "result.json")) for name in ("x", "y"))
    assert (first.run_id, first.final, first.pairing) == (second.run_id, second.final, second.pairing)


def test_without_output_it_goes_below_runs(grng: Call, workdir: Path) -> None:
    assert grng("train", *TINY, "--optimizer", "sgd").code == 0
    (directory,) = (workdir / "runs").iterdir()
    assert directory.name.startswith("sgd-")
    assert directory.name == f"sgd-{RunResult.load(directory / 'result.json').run_id[:8]}"


def test_smoke_is_short(grng: Call, workdir: Path) -> None:
    ran = grng("train", "--smoke", "--dataset", "digits", "--optimizer", "sgd", "--threads", 1, "--output", "x")
    assert ran.code == 0, ran.err
    assert RunResult.load(Path("x/result.json")).steps == 10


def test_dry_run_writes_nothing(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.experiments.estimate.MEASURED_STEPS", 1)
    ran = grng(*LINE, "--optimizer", "sgd", "--dry-run")
    assert ran.code == 0
    assert "\n1 of 1 runs to do; estimate: " in ran.out
    assert not list(workdir.iterdir())
    document = json.loads(grng(*LINE, "--optimizer", "sgd", "--dry-run", "--json").out)
    assert [(run["label"], run["steps"], run["directory"], run["done"]) for run in document["runs"]] == [
        ("sgd", 3, "x", False)
    ]
    assert document["estimated_seconds"] > 0
    assert not list(workdir.iterdir())


@pytest.mark.parametrize("asked", [(), ("--json",), ("--quiet",)])
def test_divergence_is_3(grng: Call, workdir: Path, asked: tuple[str, ...]) -> None:
    line = (*LINE, "--optimizer", "sgd", "--opt", "lr=1e30", "--set", "training.steps=30", *asked)
    for _ in range(2):  # the stored result says the same
        ran = grng(*line)
        assert ran.code == 3
        assert "diverged" in ran.out
    result = RunResult.load(Path("x/result.json"))
    assert (result.status, result.reason) == ("diverged", "nan")


def test_a_crash_is_1_and_one_message(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("the matrix fell apart")

    monkeypatch.setattr("grng.training.session.Session.advance", crash)
    ran = grng(*LINE, "--optimizer", "sgd")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-1] == "error: x: RuntimeError: the matrix fell apart"
    result = RunResult.load(Path("x/result.json"))
    assert (result.status, result.reason) == ("failed", "crash")


def test_a_directory_in_use_is_refused(grng: Call, workdir: Path) -> None:
    from grng.runs.rundir import RunDirectory

    line = (*LINE, "--optimizer", "sgd")
    assert grng(*line).code == 0
    before = {name: value for name, value in snapshot(workdir).items() if not name.endswith("claim.lock")}
    with RunDirectory(workdir / "x").claim():
        ran = grng(*line, "--rerun")
    assert (ran.code, ran.out) == (2, "")
    assert "error: x: another run is writing here: process " in ran.err
    after = {name: value for name, value in snapshot(workdir).items() if not name.endswith("claim.lock")}
    assert after == before


def test_a_layer_that_is_used_without_being_called_is_told_after_the_first_step(grng: Call, workdir: Path) -> None:
    Path("beit.yaml").write_text(
        "model: {name: beit_base_patch16_224, kwargs: {embed_dim: 12, depth: 2, num_heads: 2, patch_size: 4}}\n"
        "dataset: {name: digits, img_size: 8}\noptimizer: ring\ntraining: {steps: 2, batch_size: 16}\n"
    )
    ran = grng("train", "--config", "beit.yaml", "--threads", 1, "--output", "x")
    assert ran.code == 0, ran.err
    before, after = [line for line in ran.err.splitlines() if "of parameters Kronecker" in line]
    assert "without calling" not in before
    assert after.startswith("after the first look at the model: ")
    assert "2 × Linear whose weight is used without calling the module" in after
    rows = RunResult.load(Path("x/result.json")).coverage
    assert rows is not None
    assert {row["layer"] for row in rows if "without calling" in str(row["reason"])} == {
        f"blocks.{i}.attn.qkv" for i in (0, 1)
    }
    reader = EventAccumulator("x", size_guidance={"tensors": 0})
    reader.Reload()
    assert [event.step for event in reader.Tensors("coverage/text_summary")] == [0, 1]
