"""Settings for every test: one thread per worker, so that results do not depend on how many tests run side by side."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
