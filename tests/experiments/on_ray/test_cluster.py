"""What a Ray cluster is refused for, without one: no Ray need be installed for that."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from grng.errors import GrngError
from grng.experiments.machine import are_here, check_budget, slots_for
from grng.experiments.on_ray import cluster as ray_cluster
from grng.experiments.on_ray.cluster import Machine, check_answers
from grng.experiments.pool.config import PoolConfig
from grng.experiments.pool.slots import Slot
from grng.runs.sections import MachineConfig
from tests.cli.conftest import Call, workdir  # noqa: F401 - a fixture
from tests.cli.conftest import grng as grng_fixture

grng = grng_fixture

LARGE, SMALL, HEAD = Machine("a", "large", 8, 2), Machine("b", "small", 4, 0), Machine("c", "head", 0, 0)

THERE = "large: 8 cores, 2 GPUs; small: 4 cores, 0 GPUs; head: 0 cores, 0 GPUs"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[Machine]:
    """A cluster's machines, to be changed."""
    machines = [LARGE, SMALL, HEAD]
    monkeypatch.setattr(ray_cluster, "connect", lambda address: machines)
    return machines


def slots(workers: int | None = None, threads: int | None = None, device: str = "auto", **pool: Any) -> list[Slot]:
    machine = MachineConfig(threads=threads, device=device)
    return list(slots_for(workers, machine, PoolConfig(engine="ray", **pool)))


def test_as_many_runs_as_the_machines_have_room_for_each(cluster: list[Machine]) -> None:
    assert slots(device="cpu") == [Slot((), 1)] * 12
    assert slots(device="cpu", threads=3) == [Slot((), 3)] * (2 + 1), "no run spans two machines"
    assert slots(device="cpu", workers=5) == [Slot((), 1)] * 5
    assert slots(device="cpu", workers=50, oversubscribe=True) == [Slot((), 1)] * 50
    assert slots() == [Slot((), 1, gpus=1.0)] * 2, "where there are GPUs, each run has one"
    assert slots(gpus_per_run=0.5) == [Slot((), 1, time_shared=True, gpus=0.5)] * 4
    assert slots(gpus_per_run=0.4, device="cuda") == [Slot((), 1, time_shared=True, gpus=0.4)] * 4
    assert slots(gpus_per_run=0.5, threads=8) == [Slot((), 8, time_shared=True, gpus=0.5)]
    assert [are_here(slots(device=device), PoolConfig(engine="ray")) for device in ("auto", "cpu")] == [False, True]
    cluster.remove(LARGE)
    assert slots() == [Slot((), 1)] * 4


@pytest.mark.parametrize(
    ("ray_says", "said"),
    [
        (
            "Version mismatch: The cluster was started with: Ray: 2.40",
            "cannot join the Ray cluster at head:6379: Version",
        ),
        ("No node info found matching the node ip", "this machine is no part of the Ray cluster at head:6379"),
        ("Could not find any running Ray instance", "no Ray cluster answers at head:6379 (none runs here)"),
    ],
)
def test_what_ray_says_of_a_cluster_that_cannot_be_joined_is_one_message(ray_says: str, said: str) -> None:
    error = ray_cluster._not_joined("head:6379", RuntimeError(ray_says))
    assert said in str(error)
    assert error.where == "--address"


@pytest.mark.parametrize(
    ("asked", "where", "said"),
    [
        ({"workers": 0}, "--workers", "Ray needs workers, and --workers 0 has none."),
        ({"workers": 3}, "--workers", "the cluster has room for 2 runs at once, not 3."),
        ({"workers": 13, "device": "cpu"}, "--workers", "the cluster has room for 12 runs at once, not 13."),
        (
            {"threads": 9, "device": "cpu"},
            "--threads-per-run",
            f"no machine of the cluster has 9 cores for a run ({THERE}).",
        ),
        ({"gpus_per_run": 0.5, "device": "cpu"}, "--gpus-per-run", "a share of a GPU is asked for, and there is none."),
        ({"device": "cuda:1"}, "machine.device", "which GPU a run gets is Ray's to say, not cuda:1."),
    ],
)
def test_what_no_machine_of_a_cluster_has_is_refused(
    cluster: list[Machine], asked: dict[str, Any], where: str, said: str
) -> None:
    with pytest.raises(GrngError) as caught:
        slots(**asked)
    assert (caught.value.where, caught.value.message) == (where, said)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("asked", "where", "said"),
    [
        ({"gpus_per_run": 0.5}, "--gpus-per-run", "no machine of the cluster has 1 core and 0.5 of a GPU for a run"),
        ({"device": "cuda"}, "machine.device", "no machine of the cluster has 1 core and a GPU for a run"),
    ],
)
def test_a_gpu_that_no_machine_has_is_refused(
    cluster: list[Machine], asked: dict[str, Any], where: str, said: str
) -> None:
    cluster.remove(LARGE)
    with pytest.raises(GrngError, match=re.escape(said)) as caught:
        slots(**asked)
    assert caught.value.where == where


def test_an_address_without_the_engine_and_a_budget_in_seconds_are_refused() -> None:
    with pytest.raises(GrngError, match=r"an address of a Ray cluster is given, and runs are to be on this machine\."):
        slots_for(None, MachineConfig(), PoolConfig(address="auto"))
    with pytest.raises(GrngError, match="a budget in seconds would be measured on this machine"):
        check_budget(PoolConfig(engine="ray"), 20.0)
    check_budget(PoolConfig(engine="ray"), None)
    check_budget(PoolConfig(), 20.0)


@pytest.mark.parametrize(
    "address", ["nonsense", "host:", ":6379", "host:port", "host:99999", "http://host:80", "ray://"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(GrngError, match=re.escape(f"{address!r} is no address of a Ray cluster.")) as caught:
        check_answers(address)
    assert caught.value.where == "--address"


@pytest.fixture
def strangers_port() -> Iterator[tuple[int, dict[str, bytes]]]:
    """A port at which something answers with what the dictionary says."""
    says = {"answer": b""}
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    connection.sendall(says["answer"])
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], says
        server.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


def test_what_answers_but_is_no_part_of_ray_is_told_apart(
    strangers_port: tuple[int, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, says = strangers_port
    monkeypatch.setattr(ray_cluster, "CONNECT_SECONDS", 0.3)
    for scheme in ("", "ray://"):
        address = f"{scheme}127.0.0.1:{port}"
        says["answer"] = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        with pytest.raises(GrngError, match=re.escape(f"answers at {address} (what is there is no part of Ray)")):
            check_answers(address)
        says["answer"] = b""
        begun = time.monotonic()
        with pytest.raises(GrngError, match=re.escape(f"no Ray cluster answers at {address} (timed out)")):
            check_answers(address)
        assert time.monotonic() - begun < 5
        says["answer"] = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0])  # a gRPC server's settings
        check_answers(address)


@pytest.mark.parametrize("command", ["compare --optimizers sgd", "sweep --optimizer sgd --trials 2"])
def test_no_ray_and_nobody_who_answers_are_one_message_and_nothing_is_written(
    grng: Call, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from pathlib import Path

    monkeypatch.setitem(sys.modules, "ray", None)
    ran = grng(*command.split(), "--engine", "ray", "--output", "x")
    assert (ran.code, ran.out) == (2, "")
    assert "--engine: Ray is not installed." in ran.err
    assert "pip install 'grng[ray]'" in ran.err

    monkeypatch.setattr(ray_cluster, "check_installed", lambda: None)
    ran = grng(*command.split(), "--engine", "ray", "--address", "127.0.0.1:1", "--output", "x")
    assert (ran.code, ran.out) == (2, "")
    assert "--address: no Ray cluster answers at 127.0.0.1:1 (Connection refused)." in ran.err
    assert list(Path().iterdir()) == [], "nothing is written"
