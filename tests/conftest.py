"""Settings for every test: one thread per worker, so that results do not depend on how many tests run side by side."""

from __future__ import annotations

import signal
from typing import Any

import pytest


def pytest_configure() -> None:
    # A shell starts background jobs with interrupts ignored, and so would be every process that a test starts and interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker tests that stand together: what a module sets up is then set up once."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None
