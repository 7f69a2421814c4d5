"""Diagnostics, compiled models and pictures in files by `grng train --processes 2`: real processes against one."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest

from grng.runs.result import RunResult
from tests.cli.conftest import TINY, Start, snapshot
from tests.cli.test_processes import family, is_alive, wait_for
from tests.cli.test_several_processes import leader, trains
from tests.data.makers import image_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # code is generated, on a machine that may be busy

COMMON = ("--threads", 1, "--device", "cpu", "--set", "logging.log_every=1", "--no-tensorboard")
FOLDER = ("--dataset", "folder", "--data-dir", "pictures", "--data-workers", 1, "--flip", 0.5)
PER_PICTURE = ("--auto-augment", "rand-m9-mstd0.5-inc1")
FEATURES: dict[str, tuple[object, ...]] = {
    "diagnostics": ("--diagnostics", "all", "--diagnostics-every", 1, "--set", "diagnostics.samples=32"),
    "compile": ("--compile",),
    "pictures": (*FOLDER, *PER_PICTURE),
}


def make_pictures(directory: Path, count: int = 40) -> None:
    image_folder(directory / "pictures", {"red": count, "blue": count}, suffix=".jpg", size=(30, 40))


def losses(directory: Path) -> list[float]:
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [line["train_loss"] for line in lines if line["kind"] == "step"]


@pytest.mark.parametrize("feature", FEATURES)
def test_two_processes_equal_one(feature: str, process: Start, workdir: Path) -> None:
    make_pictures(workdir)
    for output, more in (("one", ()), ("two", ("--processes", 2))):
        running = process(
            *("train", *TINY, "--optimizer", "ring", *COMMON, *FEATURES[feature], *more, "--output", output)
        )
        _, err = running.communicate(timeout=400)
        assert running.returncode == 0, err
        assert "warning" not in err
    one, two = (RunResult.load(workdir / output / "result.json") for output in ("one", "two"))
    assert (one.world_size, two.world_size) == (1, 2)
    assert one.run_id == two.run_id
    assert losses(workdir / "two") == pytest.approx(losses(workdir / "one"), rel=1e-3)
    assert two.final.test_loss == pytest.approx(one.final.test_loss, rel=1e-3)
    measured = one.diagnostics.model_dump(exclude={"seconds"}, exclude_none=True)
    assert bool(measured) == (feature == "diagnostics")
    # in single precision the residual of an eigenvalue is rounding
    assert two.diagnostics.model_dump(include=set(measured)) == pytest.approx(measured, rel=1e-2, abs=1e-3)


def test_synchronised_norms_are_refused_on_a_cpu_before_anything_is_written(process: Start, workdir: Path) -> None:
    line = ("train", *TINY[:-1], "test_resnet", "--processes", 2, *COMMON, "--output", "x")
    running = process(*line, "--set", "machine.sync_batchnorm=true")
    out, err = running.communicate(timeout=120)
    assert (running.returncode, out) == (2, "")
    assert err == (
        "error: --set machine.sync_batchnorm: torch's SyncBatchNorm does not run on cpu.\n"
        " hint: Leave it out: each process then uses its own statistics.\n"
    )
    assert snapshot(workdir) == {}
    running = process(*line)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 0
    assert err.count("warning: BatchNorm normalises by each process's own samples") == 1


LONG = ("--steps", 2000, *TINY[2:4], "--model", "test_vit", "--img-size", 32, "--set", "logging.checkpoint_every=5")


def readers(directory: Path) -> list[psutil.Process]:
    """Return the processes that read pictures: the children of the two that train."""
    first = leader(directory)
    ranks = psutil.Process(first.ppid()).children()
    return [child for rank in ranks for child in rank.children()]


@pytest.mark.parametrize("whom", ["leader", "reader"])
def test_a_killed_process_leaves_no_readers_behind(whom: str, process: Start, workdir: Path) -> None:
    make_pictures(workdir)
    line = ("train", *LONG, "--optimizer", "adamw", *COMMON, *FOLDER, *PER_PICTURE, "--processes", 2, "--output", "x")
    running = process(*line)
    wait_for(lambda: trains(workdir / "x") and len(readers(workdir / "x")) == 2)
    children = family(running)
    victim = leader(workdir / "x") if whom == "leader" else readers(workdir / "x")[-1]
    victim.kill()
    out, err = running.communicate(timeout=60)
    assert out == ""
    assert running.returncode == (1 if whom == "leader" else 2), err
    assert err.count("error: ") == 1, err
    assert "Traceback" not in err
    assert ("process 0 of the run's 2 ended" if whom == "leader" else "a process that reads pictures died") in err
    wait_for(lambda: not any(map(is_alive, children)), seconds=15)
    assert RunResult.load(workdir / "x" / "result.json").status == "failed"
    running = process(*line)
    wait_for(lambda: trains(workdir / "x") and not (workdir / "x" / "result.json").exists())
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    stopped = RunResult.load(workdir / "x" / "result.json")
    assert stopped.resumed_from_step is not None
    assert stopped.resumed_from_step > 0
