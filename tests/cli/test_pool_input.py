"""What a user can ask of the pool that this machine does not have: one message, exit 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from grng.experiments import machine
from tests.cli.conftest import Call, snapshot

COMPARE = "compare --optimizers sgd"
SWEEP = "sweep --optimizer sgd"
WORKLOADS = "compare --optimizers sgd --model test_vit,test_resnet"
TUNED = "compare --optimizers sgd --tune 2"
NO_GPU = "a share of a GPU is asked for, and there is none."


@pytest.fixture(autouse=True)
def two_cores_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: (0, 1))
    monkeypatch.setattr(machine, "visible_gpus", list)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.mark.parametrize("command", [COMPARE, SWEEP, WORKLOADS, TUNED])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--workers 3", "--workers: 3 workers need 3 cores, and there are 2.\n hint: Give --workers 2, or "),
        ("--workers 2 --threads-per-run 2", "--workers: 2 workers with 2 threads each need 4 cores, and there are 2."),
        ("--gpus-per-run 0.5 --workers 0", f"--gpus-per-run: {NO_GPU}\n hint: Leave it out, or see why torch finds "),
        ("--timeout 5 --workers 0", "--timeout: --timeout needs workers, and --workers 0 has none."),
    ],
)
def test_one_message(command: str, options: str, said: str, grng: Call, workdir: Path) -> None:
    ran = grng(*command.split(), *options.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {said}")
    assert ran.err.count("error: ") == 1
    assert snapshot(workdir) == {}


@pytest.mark.parametrize("command", [COMPARE, SWEEP])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--threads-per-run 4", "--threads-per-run: 4 threads of a run need 4 cores, and there are 2."),
        ("--workers -1", "--workers: must be at least 0, not -1."),
        ("--threads-per-run 0", "--threads-per-run: must be at least 1, not 0."),
        ("--gpus-per-run 2", "--gpus-per-run: must be at most 1, not 2.0."),
        ("--gpus-per-run 0", "--gpus-per-run: must be greater than 0, not 0.0."),
        ("--gpus-per-run 0.5 --device cpu", f"--gpus-per-run: {NO_GPU}\n hint: Leave it out, or give --device auto: "),
        ("--device cuda", "--device: no CUDA device is available."),
        ("--timeout 0", "--timeout: must be greater than 0, not 0.0."),
        ("--set pool.timout=2", "--set pool.timout: unknown key 'timout'.\n hint: Did you mean 'timeout'?"),
    ],
)
def test_one_message_of_either_command(command: str, options: str, said: str, grng: Call, workdir: Path) -> None:
    test_one_message(command, options, said, grng, workdir)


@pytest.mark.parametrize("command", ["compare", "sweep"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nworkers: 3\n", "mine.yaml:2 (workers): 3 workers need 3 cores"),
        ("workers: 0\npool:\n  timeout: 5\n", "mine.yaml:3 (pool.timeout): --timeout needs workers"),
        ("pool:\n  gpus_per_run: 1\n", f"mine.yaml:2 (pool.gpus_per_run): {NO_GPU}"),
        ("machine:\n  threads: 4\n", "mine.yaml:2 (machine.threads): 4 threads of a run need 4 cores"),
    ],
)
def test_a_file_is_named_with_its_line(command: str, text: str, said: str, grng: Call, workdir: Path) -> None:
    if command == "compare":
        text = text.replace("seed: 1\n", "seeds: 1\n")
    (workdir / "mine.yaml").write_text(text)
    ran = grng(command, "--config", "mine.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {said}"), ran.err
    assert list(workdir.iterdir()) == [workdir / "mine.yaml"]
