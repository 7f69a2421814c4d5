"""Real processes whose memory runs out: the allocator says no, or the kernel kills; one message says what to type."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grng.runs.result import RunResult

pytestmark = pytest.mark.slow

MUCH = ("--model", "resnet18", "--dataset", "digits", "--img-size", "128", "--batch-size", "512")
"""A step of this takes several gigabytes."""
SHORT = ("--steps", 2, "--device", "cpu")
LIMIT = 2_000_000_000
ADDRESSES = 6_000_000_000
WAYS = ("--grad-accum 2 (now 1; the batch stays 512)", "--batch-size 256 (now 512)", "--opt curvature_batch=")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of 2 GB."""
    place = Path(f"/sys/fs/cgroup/memory/grng-test-cli-{os.getpid()}")
    try:
        place.mkdir()
        (place / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no control group to be had: {error}")
    yield place
    place.rmdir()


def run(before: str, place: object, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a shell that does `before` first, where `$0` is `place`."""
    line = ["sh", "-c", f'{before}; exec "$@"', str(place), sys.executable, "-m", "grng_cli", *map(str, arguments)]
    return subprocess.run(
        line, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def assert_told(ran: subprocess.CompletedProcess[str], result: RunResult, *, kernel: bool) -> None:
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    said = " ".join(ran.stderr.split())
    assert all(way in said for way in WAYS), ran.stderr
    assert ("by the kernel, since memory ran out" in said) == kernel, ran.stderr
    assert (result.status, result.reason) == ("failed", "oom")
    assert result.message is not None
    assert all(way in result.message for way in WAYS)


def test_the_allocator_says_no(tmp_path: Path) -> None:
    line = ("train", "--optimizer", "ring", *MUCH, *SHORT, "--threads", 1, "--output", tmp_path / "x")
    ran = run(f"ulimit -v {ADDRESSES // 1024}", "-", *line)
    assert_told(ran, RunResult.load(tmp_path / "x" / "result.json"), kernel=False)
    assert ran.stdout == ""
    assert ran.stderr.count("error: ") == 1


def test_the_kernel_kills_one_of_several_processes(group: Path, tmp_path: Path) -> None:
    line = ("train", "--optimizer", "ring", *MUCH, *SHORT, "--threads", 1, "--output", tmp_path / "x")
    ran = run('echo $$ > "$0/cgroup.procs"', group, *line, "--processes", 2)
    assert_told(ran, RunResult.load(tmp_path / "x" / "result.json"), kernel=True)
    assert ran.stderr.count("error: ") == 1
    assert (group / "cgroup.procs").read_text() == "", "nobody is left"


def test_the_kernel_kills_the_worker_of_a_comparison(group: Path, tmp_path: Path) -> None:
    line = ("compare", "--optimizers", "ring", "--seeds", 1, "--workers", 1, *MUCH, *SHORT)
    ran = run('echo $$ > "$0/cgroup.procs"', group, *line, "--output", tmp_path / "x")
    assert_told(ran, RunResult.load(tmp_path / "x" / "ring" / "seed0" / "result.json"), kernel=True)
    assert ran.stderr.count("trying again") == 1
    assert (group / "cgroup.procs").read_text() == "", "nobody is left"
