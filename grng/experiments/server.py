"""The fork server: a process with torch and timm loaded, whose forks are the workers; saves seconds per run."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

PRELOAD = (
    "grng.experiments.own_session",
    "torch",
    "timm",
    "torch.utils.tensorboard",
    "grng.experiments.worker",
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
    forkserver.ensure_running()
