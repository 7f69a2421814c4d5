"""A Ray cluster as a place for runs: connecting to it, and what its machines have."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grng.errors import GrngError

ADDRESS = "--address"

CONNECT_SECONDS = 5.0
"""How long a connection may take to be accepted, and then to be answered."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to Ray's makers on behalf of a run
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # How long Ray looks for a node of the cluster on this machine, and for a client server: a minute and more, else.
    "RAY_gcs_server_request_timeout_seconds": "10",
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "2",
}

# What a gRPC server answers with settings of its own, and what those begin with (RFC 9113, 3.4 and 4.1).
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_FRAME_HEADER = 9
_SETTINGS_FRAME = 4


@dataclass(frozen=True)
class Machine:
    """One node of a cluster.

    Args:
        node_id: Ray's name of it.
        host: Its name or address.
        cores: Cores that Ray gives out there.
        gpus: GPUs that Ray gives out there.
    """

    node_id: str
    host: str
    cores: float
    gpus: float


def load_ray() -> Any:
    """Return the module.

    Raises:
        GrngError: It is not installed.
    """
    check_installed()
    for name, value in _SETTINGS.items():  # a user's own settings win
        os.environ.setdefault(name, value)
    import ray

    return ray


def check_installed() -> None:
    """Raise a `GrngError` where Ray is not installed; it is not loaded."""
    try:
        found = importlib.util.find_spec("ray")
    except ValueError:  # marked as absent
        found = None
    if found is None:
        hint = "Install it on every machine: pip install 'grng[ray]'. Or leave out --engine ray."
        raise GrngError("Ray is not installed.", where="--engine", hint=hint)


def connect(address: str | None) -> list[Machine]:
    """Connect this process to a cluster, or start one on this machine, and return its machines.

    Args:
        address: `auto`: the cluster that runs on this machine; HOST:PORT; `ray://HOST:PORT`: through Ray's client
            server; None: `auto` where a cluster runs, else a new one on this machine's cores.

    Raises:
        GrngError: Ray is not installed, or nobody answers.
    """
    check_installed()
    if address is not None and address != "auto":
        check_answers(address)
    ray = load_ray()
    if not ray.is_initialized():
        address = _settled(address)
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            settings["include_dashboard"] = False
        try:
            with _own_handler(signal.SIGTERM):
                ray.init(address=address, **settings)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise _not_joined(address, error) from None
    return [
        Machine(
            node["NodeID"],
            node.get("NodeManagerHostname") or node.get("NodeManagerAddress", "?"),
            float(node["Resources"].get("CPU", 0)),
            float(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def check_answers(address: str) -> None:
    """Find out within seconds what Ray takes minutes for.

    Raises:
        GrngError: It is no address, nobody answers there, or something that is no part of Ray does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 1 << 16 or "/" in host:
        hint = "Give --address auto, HOST:PORT, or ray://HOST:PORT."
        raise GrngError(f"{address!r} is no address of a Ray cluster.", where=ADDRESS, hint=hint)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):  # else only Ray can greet
                connection.sendall(_GREETING)
                answer = connection.recv(_FRAME_HEADER)
                if len(answer) < _FRAME_HEADER or answer[3] != _SETTINGS_FRAME:
                    raise _unanswered(address, "what is there is no part of Ray")
    except OSError as error:
        raise _unanswered(address, error.strerror or str(error)) from None


def _settled(address: str | None) -> str | None:
    """Return the address that Ray will take, with what the environment says in place of none; checked, too."""
    given = os.environ.get("RAY_ADDRESS")
    if address not in (None, "auto") or given in (None, "", "auto", "local"):
        return address
    check_answers(given)
    return given


@contextlib.contextmanager
def _own_handler(number: signal.Signals) -> Iterator[None]:
    """Put back this process's handler of a signal, in whose place Ray sets its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(number)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(number, before)


def _unanswered(address: str | None, why: str) -> GrngError:
    hint = "Start one with `ray start --head`, whose output names the address; or leave out --engine."
    place = "this machine" if address in (None, "auto") else address
    return GrngError(f"no Ray cluster answers at {place} ({why}).", where=ADDRESS, hint=hint)


def _not_joined(address: str | None, error: Exception) -> GrngError:
    text = " ".join(str(error).split()) or type(error).__name__
    if "Could not find any running Ray instance" in text:
        return _unanswered(address, "none runs here")
    if "No node info found" in text:
        hint = "Give grng's command on one of its machines, or reach it from here through its client server: ray://HOST:10001."
        return GrngError(f"this machine is no part of the Ray cluster at {address}.", where=ADDRESS, hint=hint)
    if "mismatch" in text:
        hint = "All machines, this one too, need the same Ray and the same Python."
        return GrngError(f"cannot join the Ray cluster at {address}: {text}", where=ADDRESS, hint=hint)
    return _unanswered(address, text)
