"""The fork server: a process with torch and timm loaded, whose forks are the workers; saves seconds per run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.context import ForkServerContext

PARENT = "GRNG_SERVER_PARENT"
"""In the environment of the server's start: the process that it belongs to, which may be gone before it has begun."""

_PR_SET_PDEATHSIG = 1

PRELOAD = (
    "grng.experiments.pool.own_session",
    "torch",
    "timm",
    "torch.utils.tensorboard",
    "grng.experiments.pool.worker",
    "grng.training.trainer",
)
"""What the server imports, in this order. Nothing of it may start a thread or touch CUDA: a test looks."""


def context() -> ForkServerContext:
    """Return the multiprocessing context of workers, its server told what to load before the first fork."""
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(list(PRELOAD))
    return chosen


def start_early() -> None:
    """Start the server now, so that it loads torch while the caller does something else."""
    from multiprocessing import forkserver

    context()
    if threading.current_thread() is threading.main_thread():  # the kernel takes the end of a thread for its parent's
        os.environ[PARENT] = str(os.getpid())
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop(PARENT, None)


def die_with_parent() -> bool:
    """Have the kernel kill this process, none of its children, when its parent ends.

    Returns:
        Whether the kernel can: Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
