"""The whole loop's memory is flat: steps, evaluations, checkpoints and logs of every optimizer."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from grng.optimizers import list_optimizers
from grng.training.events import Event, StepDone
from grng.training.trainer import train
from tests.training.helpers import run_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_data")]

OPTIMIZERS = [info.name for info in list_optimizers()] + ["timm:lamb"]
STEPS, WARM_UP = 300, 60


def resident(optimizer: str, directory: Path) -> list[float]:
    """Return the process's resident set in MB after each step of a run that evaluates every ten steps."""
    process, seen = psutil.Process(), []

    def look(event: Event) -> None:
        if isinstance(event, StepDone):
            seen.append(process.memory_info().rss / 1e6)

    logging = {"tensorboard": True, "log_every": 1, "checkpoint_every": 25}
    train(
        run_config(optimizer, training={"steps": STEPS, "eval_every": 10}, logging=logging), directory, listeners=[look]
    )
    return seen


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident sets are not alike elsewhere")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_grows_by_less_than_two_percent_after_the_warm_up(tmp_path: Path, optimizer: str) -> None:
    seen = resident(optimizer, tmp_path / "run")
    assert len(seen) == STEPS
    early, late = max(seen[WARM_UP : 2 * WARM_UP]), max(seen[-WARM_UP:])
    print(f"| {optimizer} | {early:.1f} | {late:.1f} | {100 * (late / early - 1):+.2f} % |")
    assert late <= 1.02 * early
    assert late <= early + 10, "two percent of a large process would hide a leak of a small model"
