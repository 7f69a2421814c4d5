from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grng.runs import kernel_kills as module
from grng.runs.kernel_kills import kernel_kills, rose


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files as Linux has them: both versions of control groups, and the machine's counts."""
    monkeypatch.setattr(module, "_CGROUPS", tmp_path)
    monkeypatch.setattr(module, "_OWN", tmp_path / "cgroup")
    monkeypatch.setattr(module, "_MACHINE", tmp_path / "vmstat")
    (tmp_path / "cgroup").write_text("5:cpu:/a\n4:memory:/job/1\n0::/user.slice\n")
    (tmp_path / "user.slice").mkdir()
    (tmp_path / "user.slice" / "memory.events").write_text("low 0\nhigh 9\noom 5\noom_kill 3\noom_group_kill 0\n")
    (tmp_path / "memory" / "job" / "1").mkdir(parents=True)
    (tmp_path / "memory" / "job" / "1" / "memory.oom_control").write_text(
        "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
    )
    (tmp_path / "vmstat").write_text("nr_free_pages 5\noom_kill 40\n")
    return tmp_path


def test_all_counts_are_read(kernel: Path) -> None:
    assert list(kernel_kills().values()) == [1, 3, 40]


def test_our_own_count_decides_where_there_is_one(kernel: Path) -> None:
    before = kernel_kills()
    (kernel / "vmstat").write_text("oom_kill 41\n")
    assert not rose(before, kernel_kills()), "another's process"
    (kernel / "user.slice" / "memory.events").write_text("oom_kill 4\n")
    assert rose(before, kernel_kills())


def test_else_the_machines_does(kernel: Path) -> None:
    (kernel / "cgroup").write_text("0::/elsewhere\n")
    before = kernel_kills()
    assert not rose(before, kernel_kills())
    (kernel / "vmstat").write_text("oom_kill 41\n")
    assert rose(before, kernel_kills())


def test_a_kernel_that_does_not_count_says_nothing(kernel: Path) -> None:
    for path in ("vmstat", "cgroup"):
        (kernel / path).unlink()
    assert kernel_kills() == {}
    assert not rose({}, {})


GREEDY = """
import os, signal, sys
from pathlib import Path
from grng.runs.kernel_kills import kernel_kills, rose

Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
before = kernel_kills()
child = os.fork()
if child == 0:
    held = []
    while True:
        held.append(bytearray(b"x") * 1_000_000)
_, status = os.waitpid(child, 0)
print(os.WTERMSIG(status) == signal.SIGKILL, rose(before, kernel_kills()))
before = kernel_kills()
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGKILL)
_, status = os.waitpid(child, 0)
print(os.WTERMSIG(status) == signal.SIGKILL, rose(before, kernel_kills()))
"""


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group of 64 MB."""
    place = Path(f"/sys/fs/cgroup/memory/grng-test-{os.getpid()}")
    try:
        place.mkdir()
        (place / "memory.limit_in_bytes").write_text("64000000")
    except OSError as error:
        pytest.skip(f"no control group to be had: {error}")
    yield place
    place.rmdir()


@pytest.mark.slow
def test_a_real_kernel_counts_what_it_kills_and_not_what_others_kill(small_group: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", GREEDY, str(small_group)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert ran.stdout.splitlines() == ["True True", "True False"], ran.stderr
