from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from grng.errors import RunDirectoryError
from grng.runs.claim import claimed

HOLD = """
import sys, time
from pathlib import Path
from grng.runs.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_claim_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "claim.lock"
    with claimed(path):
        with pytest.raises(RunDirectoryError) as caught, claimed(path):
            pass
        assert str(caught.value) == (
            f"{tmp_path}: another run is writing here: process {os.getpid()} on {socket.gethostname()}. "
            "Wait for it, or choose another directory with --output."
        )
    with claimed(path):
        assert json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid()


def test_a_claim_ends_with_an_error_in_the_block(tmp_path: Path) -> None:
    path = tmp_path / "claim.lock"
    with pytest.raises(KeyError), claimed(path):
        raise KeyError
    with claimed(path):
        assert path.exists()


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "claim.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RunDirectoryError, match=f"process {holder.pid} on "), claimed(path):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
    assert json.loads(path.read_text(encoding="utf-8"))["pid"] == holder.pid
    with claimed(path):
        assert json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid()


FORK = """
import os, signal, sys
from pathlib import Path
from grng.runs.claim import claimed
with claimed(Path(sys.argv[1])):
    ready, begun = os.pipe()
    if os.fork() == 0:
        os.write(begun, b"x")
        sys.stdin.read()  # lives until the test lets it go
        os._exit(0)
    os.read(ready, 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_what_a_killed_holder_had_forked_holds_nothing(tmp_path: Path) -> None:
    """As those that read pictures, which outlive it by seconds."""
    path = tmp_path / "claim.lock"
    with subprocess.Popen([sys.executable, "-c", FORK, str(path)], stdin=subprocess.PIPE) as holder:
        assert holder.wait() == -signal.SIGKILL
        with claimed(path):
            pass


def test_a_holder_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "claim.lock"
    with claimed(path):
        path.write_text("", encoding="utf-8")
        with pytest.raises(RunDirectoryError, match="a process that left no name"), claimed(path):
            pass
