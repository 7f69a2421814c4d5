"""The fork server: a process with torch and timm loaded, whose forks are the workers; saves seconds per run."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerContext

PARENT = "GRNG_SERVER_PARENT"
"""In the environment of the server's start: the process that it belongs to, which may be gone before it has begun."""

PRELOAD = (
    "grng.experiments.own_session",
    "torch",
    "timm",
    "torch.utils.tensorboard",
    "grng.experiments.worker",
    "grng.training.trainer",
    "grng.experiments.server_loaded",
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
    os.environ[PARENT] = str(os.getpid())
    try:
        forkserver.ensure_running()
    finally:
        del os.environ[PARENT]
