"""A disk that will not do: said before a dry run's estimate and before a real start, once, and nothing is refused."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from grng.experiments.estimate import Estimate
from grng.runs.config import RunConfig
from tests.cli.conftest import TINY, Call, snapshot

Usage = namedtuple("Usage", ("total", "used", "free"))
SAID = "warning: the disk will not do: the runs will write about "
COMPARE = ("compare", *TINY, "--optimizers", "sgd,adamw", "--seeds", 2, "--workers", 0, "--output", "x")
ONE = ("compare", *TINY, "--optimizers", "sgd", "--seeds", 1, "--workers", 0, "--output", "x")
SEVERAL = ("compare", *TINY[:-1], "test_vit,test_resnet", *COMPARE[len(TINY) + 1 :])
SWEEP = ("sweep", *TINY, "--optimizer", "adamw", "--trials", 3, "--workers", 0, "--output", "x")


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 5 MB left, and runs that take 2 MB and 3 s each."""

    def estimate(config: RunConfig) -> Estimate:
        return Estimate(config.training.steps, 3.0, 2_000_000, None)

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 5_000_000, 5_000_000))
    monkeypatch.setattr("grng.experiments.estimate.estimate", estimate)
    monkeypatch.setattr("grng.experiments.disk.disk_bytes", lambda config: 2_000_000)


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize(
    ("line", "needed"),
    [(COMPARE, 4), ((*COMPARE, "--tune", 3), 10), (SWEEP, 3), (("train", *TINY, "--output", "x"), 1)],
)
def test_a_dry_run_says_what_is_free(line: tuple[object, ...], needed: int, grng: Call, workdir: Path) -> None:
    ran = grng(*line, "--dry-run")
    assert ran.code == 0
    total = f"{2 * needed} MB"
    assert ran.err.count(SAID) == (needed > 2), "a single run fits"
    assert f"{total} of disk, 5 MB free. Nothing was written." in ran.out
    if needed > 2:
        assert f"{SAID}{total} to x, and 5 MB are free. Make room, or choose another disk with --output." in ran.err
    if line is COMPARE:
        document = json.loads(grng(*line, "--dry-run", "--json").out)
        assert (document["estimated_disk_bytes"], document["free_disk_bytes"]) == (8_000_000, 5_000_000)
    assert snapshot(workdir) == {}


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize(
    "line", [ONE, pytest.param(SEVERAL, marks=pytest.mark.slow), pytest.param(SWEEP, marks=pytest.mark.slow)]
)
def test_a_start_warns_and_goes_on(
    line: tuple[object, ...], grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grng.experiments.disk.disk_bytes", lambda config: 6_000_000)
    ran = grng(*line, "--quiet")
    assert (ran.code, ran.err.count(SAID)) == (0, 1), ran.err
    assert "to x, and 5 MB are free" in ran.err
    again = grng(*line, "--quiet")
    assert (again.code, again.err.count(SAID)) == (0, 0), "nothing is left to be written"
