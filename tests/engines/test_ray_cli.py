"""`grng compare`, with tuning and workloads, and `grng sweep` on a real Ray cluster of two nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from grng.runs.result import RunResult
from tests.cli.conftest import call
from tests.engines.conftest import TwoNodes
from tests.waiting import wait_until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1500), pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
SHORT = ("--steps", 2, "--batch-size", 16, "--dataset", "digits", "--img-size", 32)


def test_a_comparison_with_tuning_and_workloads_and_a_sweep(two_nodes: TwoNodes, tmp_path: Path) -> None:
    cluster = ("--device", "cpu", "--engine", "ray", "--address", two_nodes.address, "--json")
    line = ["compare", *SHORT, "--model", "test_vit,test_resnet", "--optimizers", "sgd", "--seeds", 1, "--tune", 1]
    ran = call(*line, *cluster, "--output", tmp_path / "x")
    assert ran.code == 0, ran.err
    workloads = json.loads(ran.out)["workloads"]
    assert [one["name"] for one in workloads] == ["test_vit-digits", "test_resnet-digits"]
    assert [[(row["label"], row["n"]) for row in one["rows"]] for one in workloads] == [[("sgd", 1)]] * 2
    again = call(*line, *cluster, "--output", tmp_path / "x")
    assert again.err.count("(reused)") >= 2
    assert again.out == ran.out

    line = ["sweep", *SHORT, "--model", "test_vit", "--optimizer", "sgd", "--trials", 2]
    ran = call(*line, *cluster, "--output", tmp_path / "s")
    assert ran.code == 0, ran.err
    assert len(list((tmp_path / "s").glob("trials/*/seed*/result.json"))) == 2


def started(*arguments: object) -> subprocess.Popen[str]:
    """Start the real command, on CPUs of a cluster."""
    line = [sys.executable, "-m", "grng_cli", *map(str, arguments), "--device", "cpu", "--engine", "ray"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_comparison_from_outside_of_the_cluster(two_nodes: TwoNodes, tmp_path: Path) -> None:
    address = f"ray://127.0.0.1:{two_nodes.client_port}"
    line = ("compare", *SHORT, "--model", "test_vit", "--optimizers", "sgd,adamw", "--seeds", 1, "--json")
    with started(*line, "--address", address, "--output", tmp_path / "x") as process:
        out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err
    assert [(row["label"], row["n"]) for row in json.loads(out)["rows"]] == [("sgd", 1), ("adamw", 1)]
    assert "[2/2]" in err


def test_a_termination_saves_every_run(two_nodes: TwoNodes, tmp_path: Path) -> None:
    line: tuple[object, ...] = (
        "compare",
        *SHORT[2:],
        "--steps",
        1000000,
        "--model",
        "test_vit",
        "--optimizers",
        "sgd,adamw",
        "--seeds",
        1,
    )
    line += ("--set", "logging.checkpoint_every=5", "--output", tmp_path / "x")
    with started(*line, "--address", two_nodes.address) as process:
        wait_until(
            lambda: process.poll() is not None or len(list((tmp_path / "x").glob("*/*/checkpoint/last.pt"))) == 2,
            seconds=1200,
        )
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert "terminated: 0 of 2 runs" in err
    for path in (tmp_path / "x").glob("*/*"):
        assert RunResult.load(path / "result.json").status == "interrupted"
    assert not list(tmp_path.rglob(".*.log"))
