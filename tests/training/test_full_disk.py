"""Writes that fail for want of space: one message, nothing half written, and the run goes on bit for bit."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from grng.errors import RunDirectoryError
from grng.runs.config import RunConfig
from grng.runs.files import is_temporary
from grng.training.events import Event, Listener, StepDone
from grng.training.trainer import train
from tests.training.helpers import checkpoint, difference, metrics, run_config, untimed
from tests.training.test_tensorboard import assert_equals_metrics, board

FULL = "no space left on the disk"
LIMITED = "files may not become as large as that here"


def config_of() -> RunConfig:
    logging = {"tensorboard": True, "log_every": 1, "checkpoint_every": 2}
    return run_config("adamw", training={"steps": 8, "eval_every": None}, logging=logging)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, small_data: None) -> Path:
    directory = tmp_path_factory.mktemp("straight") / "run"
    train(config_of(), directory)
    return directory


def whole_records(path: Path) -> int:
    """Count the records of an event file; fail if it ends within one."""
    data, count = path.read_bytes(), 0
    while data:
        size = int.from_bytes(data[:8], "little")
        assert len(data) >= size + 16, "half a record"
        event_pb2.Event.FromString(data[12 : 12 + size])
        data, count = data[size + 16 :], count + 1
    return count


def assert_nothing_half_written(directory: Path) -> None:
    assert (directory / "metrics.jsonl").read_bytes().endswith(b"\n")
    assert metrics(directory)
    for path in directory.glob("events.*"):
        assert whole_records(path) > 0
    assert not [path for path in directory.rglob("*") if is_temporary(path)]


@contextmanager
def unlimited_after() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def run_out(directory: Path, what: str) -> Listener:
    """Let the next write of one kind fail, somewhere within it, from step 5 on."""

    def listener(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            if what == "checkpoint":
                limit(60_000)
            else:
                (path,) = directory.glob("metrics.jsonl" if what == "metrics" else "events.*")
                limit(path.stat().st_size + 7)

    return listener


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(
    ("what", "where"),
    [("metrics", "metrics.jsonl"), ("events", "events.out.tfevents."), ("checkpoint", "checkpoint/last.pt")],
)
def test_a_write_that_fails_is_one_message(straight: Path, tmp_path: Path, what: str, where: str) -> None:
    directory = tmp_path / "run"
    with unlimited_after(), pytest.raises(RunDirectoryError, match=LIMITED) as caught:
        train(config_of(), directory, listeners=[run_out(directory, what)])
    assert (caught.value.where or "").startswith(f"{directory}/{where}")
    assert_nothing_half_written(directory)
    result = train(config_of(), directory)
    assert (result.status, result.resumed_from_step, result.resumed_from) == ("finished", 4, "last")
    assert untimed(directory) == untimed(straight)
    assert difference(checkpoint(directory), checkpoint(straight)) is None
    assert_equals_metrics(board(directory), directory)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root may mount")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "grng-test", place], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount: {mounted.stderr!r}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.slow
@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize("step", range(1, 8))
def test_a_disk_that_is_full_at_any_step(straight: Path, small_disk: Path, step: int) -> None:
    directory, filler = small_disk / "run", small_disk / "filler"

    def fill(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

    with pytest.raises(RunDirectoryError, match=FULL):
        train(config_of(), directory, listeners=[fill])
    assert_nothing_half_written(directory)
    filler.unlink()
    assert train(config_of(), directory).status == "finished"
    assert untimed(directory) == untimed(straight)
    assert difference(checkpoint(directory), checkpoint(straight)) is None
    assert_equals_metrics(board(directory), directory)


LINE = (
    "train",
    "--optimizer",
    "ring",
    "--dataset",
    "digits",
    "--img-size",
    "32",
    "--model",
    "test_vit",
    "--steps",
    "12",
    "--batch-size",
    "16",
    "--threads",
    "1",
)
SETS = ("--set", "logging.checkpoint_every=2", "--set", "logging.log_every=1")


def command(*more: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "grng_cli", *LINE, *SETS, *map(str, more)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.slow
def test_the_command_on_a_full_disk_says_so_and_goes_on_when_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=3m", small_disk], check=True)
    ran = command("--output", small_disk / "run")
    assert (ran.returncode, ran.stdout) == (2, "")
    said = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert said[0].endswith(": no space left on the disk.")
    assert "Traceback" not in ran.stderr
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert command("--output", small_disk / "run").returncode == 0
    assert command("--output", tmp_path / "straight").returncode == 0
    assert untimed(small_disk / "run") == untimed(tmp_path / "straight")


@pytest.mark.slow
def test_the_command_on_a_disk_that_is_read_only(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ran = command("--output", small_disk / "run")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: {small_disk}/run: is not writable: {small_disk} is not.\n")
    assert "Traceback" not in ran.stderr


def test_the_records_are_tensorboards_own(tmp_path: Path) -> None:
    """`whole_records` would notice half a record."""
    with (tmp_path / "events").open("wb") as file:
        for step in range(3):
            RecordWriter(file).write(event_pb2.Event(step=step).SerializeToString())
    assert whole_records(tmp_path / "events") == 3
    os.truncate(tmp_path / "events", (tmp_path / "events").stat().st_size - 1)
    with pytest.raises(AssertionError, match="half a record"):
        whole_records(tmp_path / "events")
