"""Whether the machines of a Ray cluster will do: each has grng, and sees the folder that the runs go to."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grng._version import __version__
from grng.errors import GrngError, RunDirectoryError
from grng.experiments.on_ray.cluster import ADDRESS, Machine, load_ray
from grng.runs.files import explain_os_errors

PROBE_SECONDS = 120.0
"""How long the machines may take to answer, all together; each starts a process of Python for it."""


def check_machines(machines: Sequence[Machine], directory: Path) -> None:
    """Have every machine look for a file beside or in `directory`, and say which grng it has.

    The file is in the nearest folder that exists, and gone afterwards.

    Args:
        machines: Those that runs may go to, of `ray_cluster.connect`.
        directory: Where the runs will be.

    Raises:
        GrngError: A machine lacks grng, has another version, or does not answer.
        RunDirectoryError: A machine does not see the folder, or may not write there: it is not shared.
    """
    ray = load_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    folder = _nearest(directory)
    with _probe(folder) as file:
        waiting = {
            machine: look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(machine.node_id, soft=False)
            ).remote(str(file))
            for machine in machines
        }
        deadline = time.monotonic() + PROBE_SECONDS
        for machine, task in waiting.items():
            _judge(machine, _answer(ray, machine, task, max(0.0, deadline - time.monotonic())), folder, directory)


def _answer(ray: Any, machine: Machine, task: Any, seconds: float) -> tuple[bool, bool, str | None]:
    try:
        answer: tuple[bool, bool, str | None] = ray.get(task, timeout=seconds)
    except ray.exceptions.GetTimeoutError:
        hint = "See its state with `ray status`, or take it out of the cluster."
        raise GrngError(f"the machine {machine.host} does not answer.", where=ADDRESS, hint=hint) from None
    except ray.exceptions.RayError as error:
        if "No module named 'grng" in str(error):
            return False, False, None
        why = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        hint = "See its logs in /tmp/ray/session_latest/logs there, or take it out of the cluster."
        raise GrngError(f"the machine {machine.host} cannot do a task: {why}", where=ADDRESS, hint=hint) from None
    return answer


def _judge(machine: Machine, answer: tuple[bool, bool, str | None], folder: Path, directory: Path) -> None:
    seen, writable, version = answer
    if version != __version__:
        other = f"has grng {version}, and this one {__version__}" if version else "has no grng"
        hint = f"Install it there: pip install 'grng[ray]=={__version__}'."
        raise GrngError(f"the machine {machine.host} {other}.", where=ADDRESS, hint=hint)
    if not (seen and writable):
        hint = "Choose a folder that all machines of the cluster share (NFS, Lustre, …) with --output."
        what = "does not see" if not seen else "may not write in"
        raise RunDirectoryError(
            f"is not shared: the machine {machine.host} {what} {folder}.", where=str(directory), hint=hint
        )


def _nearest(directory: Path) -> Path:
    """Return the nearest folder above `directory`, or itself, that exists."""
    folder = directory.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    """Keep a file in `folder` meanwhile."""
    file = folder / f".grng-shared-{uuid.uuid4().hex}"
    with explain_os_errors(folder):
        file.touch()
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _look(file: str) -> tuple[bool, bool, str | None]:
    """Return whether this machine sees `file` and may write beside it, and its grng."""
    there, writable = Path(file).exists(), os.access(Path(file).parent, os.W_OK)
    try:
        from grng._version import __version__
    except ImportError:
        return there, writable, None
    return there, writable, __version__
