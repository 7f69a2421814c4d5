"""A real Ray cluster of two nodes on this machine, one core each."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

STORE_BYTES = 80 * 1024**2


@dataclass
class TwoNodes:
    """The cluster.

    Args:
        cluster: Ray's own object.
        second: The node that is not the head.
        client_port: Where clients from outside are served.
    """

    cluster: Any
    second: Any
    client_port: int

    @property
    def address(self) -> str:
        """Where it answers."""
        return str(self.cluster.address)

    def kill_second(self, worker: int) -> None:
        """End every process of the second node, `worker` among them, as a power cut would: without a word."""
        raylet = psutil.Process(self.second.all_processes["raylet"][0].process.pid)
        raylet.suspend()  # so that it does not report the death of the worker
        psutil.Process(worker).kill()
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None


@pytest.fixture(scope="session")
def _cluster() -> Iterator[TwoNodes]:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    from grng.experiments.on_ray.cluster import load_ray

    ray = load_ray()
    os.environ["OMP_NUM_THREADS"] = "1"
    # Else whatever runs beside the tests goes first, and Ray kills their workers when that takes the memory.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's names
    os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "ray_client_server_port": port})
    yield TwoNodes(cluster, None, port)
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def two_nodes(_cluster: TwoNodes) -> TwoNodes:
    if _cluster.second is None:
        _cluster.second = _cluster.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    _cluster.cluster.wait_for_nodes(timeout=120)
    return _cluster
