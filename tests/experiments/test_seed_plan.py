"""How many seeds a comparison takes: from a pilot on disk or a stated spread, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grng.errors import GrngError
from grng.experiments.compare import Prepared
from grng.experiments.compare_config import CompareConfig
from grng.experiments.estimate import Estimate
from grng.experiments.pool.slots import Slot
from grng.experiments.seed_plan import SeedPlan, check_planning, plan_seeds
from grng.runs.loading import load_config
from grng.statistics import seeds_for_power, seeds_needed
from tests.report.factory import make_experiment, make_run

ADAMW = [0.90, 0.91, 0.92, 0.93]
RING = [0.91, 0.93, 0.92, 0.95]
SGD = [0.80, 0.85, 0.88, 0.80]


@pytest.fixture(autouse=True)
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"adamw": 10.0, "ring": 14.0, "sgd": 6.0}
    monkeypatch.setattr(
        "grng.experiments.estimate.estimate",
        lambda config: Estimate(81, seconds[config.optimizer.name], 1000, None),
    )


def prepared(workers: int = 1, optimizers: str = "adamw,ring,sgd", **planning: Any) -> Prepared:
    flags = [("optimizers", optimizers, "--optimizers")]
    config = load_config(
        CompareConfig, overrides=[*flags, *((f"planning.{key}", value, f"--{key}") for key, value in planning.items())]
    ).config
    labels = tuple(spec.label for spec in config.specs)
    slots = tuple(Slot(cores=(index,), threads=1, gpu=None, time_shared=False) for index in range(workers))
    return Prepared(config, None, Path("runs/x"), slots, labels)


def planned(**given: Any) -> SeedPlan:
    return plan_seeds(prepared(**given))


def test_a_stated_spread_is_that_of_every_row() -> None:
    plan = planned(effect=0.01, spread=0.012, workers=2)
    seeds = seeds_for_power(0.01, 0.012, comparisons=2)
    assert (plan.reference, plan.comparisons, plan.floor) == ("adamw", 2, seeds_needed(2))
    assert [row.seeds for row in plan.rows] == [None, seeds, seeds]
    assert [row.seconds for row in plan.rows] == [10.0, 14.0, 6.0]
    assert plan.seeds == seeds
    assert plan.seconds == pytest.approx(30.0 * (seeds or 0) / 2)


def test_a_pilot_tells_the_spread_of_each_row_and_how_sure_it_is(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": ADAMW, "ring": RING, "sgd": SGD})
    plan = planned(effect=0.02, pilot=str(tmp_path))
    by_label = {row.label: row for row in plan.rows}
    for label, scores in (("ring", RING), ("sgd", SGD)):
        spread = by_label[label].spread
        assert spread is not None
        assert spread.sd == pytest.approx(np.std(np.array(scores) - np.array(ADAMW), ddof=1))
        assert spread.pairs == 4
        assert spread.low is not None
        assert spread.high is not None
        assert spread.low < spread.sd < spread.high
        assert by_label[label].seeds == seeds_for_power(0.02, spread.sd, comparisons=2)
    assert plan.seeds == by_label["sgd"].seeds, "all rows get the seeds of the one that takes the most"
    assert "estimated from 4 pairs" in plan.remarks[0]


def test_power_and_level_count() -> None:
    usual = planned(effect=0.01, spread=0.02)
    assert usual.seeds is not None
    for harder in ({"power": 0.95}, {"alpha": 0.01}):
        more = planned(effect=0.01, spread=0.02, **harder).seeds
        assert more is not None
        assert more > usual.seeds
    assert planned(effect=1e-5, spread=0.02).seeds is None
    assert planned(effect=0.5, spread=1e-4).seeds == usual.floor == seeds_needed(2)


def test_what_a_pilot_lacks_is_said(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": ADAMW, "ring": RING})
    plan = planned(effect=0.02, pilot=str(tmp_path))
    assert plan.remarks[0] == "not in the pilot: sgd; the largest spread of the others is taken"
    assert plan.rows[1].spread == plan.rows[2].spread
    other = tmp_path / "other"
    make_experiment(other, {"adamw": ADAMW, "ring": ADAMW, "sgd": ADAMW}, model="test_vit")
    plan = planned(effect=0.02, pilot=str(other))
    assert plan.seeds == plan.floor, "no spread at all leaves the exact test's floor"
    assert "test_vit on mnist5k" in plan.remarks[-1]


def test_a_pilot_that_tells_nothing_is_refused(tmp_path: Path) -> None:
    make_experiment(tmp_path / "one", {"adamw": [0.9], "ring": [0.91]})
    make_experiment(tmp_path / "sgd", {"sgd": [0.9, 0.91], "ring": [0.91, 0.9]})
    make_experiment(tmp_path / "unfair", {"adamw": [0.9, 0.91], "ring": [0.91, 0.9]})
    for seed in range(2):
        make_run(tmp_path / "unfair", "ring", seed, pairing__init_sha256="x")
    for name, message in (
        ("one", "has no two pairs"),
        ("sgd", "has no row 'adamw'"),
        ("unfair", "has no two pairs"),
        ("nowhere", "does not exist"),
    ):
        with pytest.raises(GrngError, match=message):
            planned(effect=0.01, pilot=str(tmp_path / name))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spread": 0.01}, "needs the difference"),
        ({"effect": 0.01}, "needs the spread"),
        ({"effect": 0.01, "spread": 0.01, "optimizers": "ring"}, "two rows or more"),
    ],
)
def test_what_a_plan_lacks_is_said_before_anything_is_loaded(given: dict[str, Any], message: str) -> None:
    with pytest.raises(GrngError, match=message) as caught:
        check_planning(prepared(**given).config)
    assert (caught.value.where, caught.value.exit_code) == ("--plan", 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"effect": 0.0}, "greater than 0"),
        ({"effect": 1.0}, "less than 1"),
        ({"power": 80.0}, "less than 1"),
        ({"spread": 0.01, "pilot": "x"}, "exclude each other"),
    ],
)
def test_values_out_of_range_or_in_contradiction_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(GrngError, match=message):
        prepared(**given)
