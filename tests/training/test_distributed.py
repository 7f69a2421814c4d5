"""Two processes train a run as one process does, for every optimizer; what they write goes on with any number of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from grng.errors import GrngError
from grng.optim.registry import REGISTRY
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.result import RunResult
from grng.training.distributed import ALONE, World
from tests.training.helpers import checkpoint, difference, run_config, untimed
from tests.training.ranks import PATIENCE, WORLD, Job, in_ranks, plain_config

FINITE = {"name": "gr-sgd", "hvp": "finite_difference", "rho": 0.1}
EVERYTHING: dict[str, Any] = {
    "training": {"grad_accum": 2, "clip_grad": 0.5, "ema": 0.9, "schedule": "constant"},
    "augment": {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1, "flip": 0.5},
}
DROPOUT: dict[str, Any] = {"name": "test_vit", "kwargs": {"drop_rate": 0.2, "drop_path_rate": 0.1}}

QUICK: dict[str, RunConfig] = {
    "a share of the batch": plain_config("ring"),
    "twice differentiated, everything on": plain_config({"name": "reng", "curvature_batch": 1.0}, **EVERYTHING),
    "closure, everything on": plain_config("sam", **EVERYTHING),
}
"""Runs whose losses must be those of one process, and stay in the default tier."""

ALL: dict[str, tuple[RunConfig, bool]] = {
    f"{name}, {'double' if double else 'single'}": (plain_config(name, training={"steps": 8}), double)
    for name in [*REGISTRY, "timm:lion"]
    for double in (True, False)
} | {
    "finite difference, everything on": (plain_config(FINITE, **EVERYTHING), True),
    "parts of unequal size": (
        plain_config({"name": "kfac", "curvature_batch": 1.0}, training={"batch_size": 17}),
        True,
    ),
    "convolutions": (plain_config({"name": "kfac", "curvature_batch": 1.0}, model="test_nfnet"), True),
    "bfloat16": (plain_config("ring", training={"precision": "bf16"}), False),
    "float16": (plain_config({"name": "reng", "curvature_batch": 1.0}, training={"precision": "fp16"}), False),
    "binary cross-entropy": (plain_config("kfac", training={"loss": "bce"}), True),
    "frozen": (plain_config("ring", model={"name": "test_nfnet", "freeze": ["stem.*", "stages.0.*"]}), True),
    "adapters": (plain_config("reng", model={"name": "test_vit", "lora": {"r": 2}}), True),
}


def both(name: str, config: RunConfig, *, double: bool, traced: bool = False) -> list[tuple[str, Job]]:
    return [
        (name, Job(f"two/{name}", config, double=double, traced=traced)),
        (f"{name}; alone", Job(f"one/{name}", config, alone=True, double=double, traced=traced)),
    ]


def assert_same_training(directory: Path, name: str, *, within: float) -> None:
    two, one = (RunResult.load(directory / number / name / "result.json") for number in ("two", "one"))
    assert (two.status, two.world_size, one.world_size) == ("finished", WORLD, 1)
    assert two.pairing == one.pairing
    assert two.run_id == one.run_id
    for key, value in one.final.model_dump().items():
        assert getattr(two.final, key) == pytest.approx(value, rel=within), key
    assert two.best == one.best
    left, right = (checkpoint(directory / number / name) for number in ("two", "one"))
    assert left["model"].keys() == right["model"].keys()


# --- the default tier: one pair of processes for all of it


def fail_in(rank: int, kind: type[Exception], *arguments: Any) -> None:
    """Fail in one of the processes alone."""
    from grng.runs.launched import launched

    place = launched()
    assert place is not None

    def act() -> None:
        if place.rank == rank:
            raise kind(*arguments)

    World(place).together(act)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """The directory of all runs, and what each process's raised."""
    directory = tmp_path_factory.mktemp("runs")
    jobs = [job for name, config in QUICK.items() for job in both(name, config, double=True)]
    resumed = plain_config("ring", model=DROPOUT, training={"steps": 4, "grad_accum": 2})
    jobs += [
        ("straight", Job("straight", resumed)),
        ("stopped", Job("stopped", resumed, stop=2)),
        ("stopped; goes on", Job("stopped", resumed)),
        ("fewer", Job("fewer", QUICK["a share of the batch"], stop=2, double=True)),
        ("fewer; goes on", Job("fewer", QUICK["a share of the batch"], alone=True, double=True)),
        ("batchnorm", Job("batchnorm", run_config("sgd", training={"steps": 2, "eval_every": None}))),
        (
            "user's error",
            Job(
                "",
                action=partial(
                    fail_in,
                    1,
                    GrngError,
                    "no such thing.",
                ),
            ),
        ),
        ("out of memory", Job("", action=partial(fail_in, 1, MemoryError, "much"))),
        ("another directory", Job("straight", plain_config("sgd"))),
    ]
    return directory, in_ranks(jobs, directory)


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_equal_one(name: str, runs: tuple[Path, list[dict[str, str]]]) -> None:
    assert_same_training(runs[0], name, within=1e-5)


def test_a_run_that_stopped_within_an_epoch_goes_on_bit_for_bit(runs: tuple[Path, list[dict[str, str]]]) -> None:
    directory, errors = runs
    for raised in errors:
        assert raised["stopped"].startswith("Interrupted")
    assert RunResult.load(directory / "stopped" / "result.json").resumed_from_step == 2
    assert untimed(directory / "straight") == untimed(directory / "stopped")
    for name in ("last", "best"):
        assert difference(checkpoint(directory / "straight", name), checkpoint(directory / "stopped", name)) is None


def assert_went_on(directory: Path, name: str, straight: str, world_size: int) -> None:
    went_on, other = (RunResult.load(directory / path / "result.json") for path in (name, straight))
    assert (went_on.resumed_from_step, went_on.world_size) == (2, world_size)
    assert went_on.pairing == other.pairing
    assert went_on.final.test_loss == pytest.approx(other.final.test_loss, rel=1e-5)


def test_one_process_goes_on_with_a_run_of_two(runs: tuple[Path, list[dict[str, str]]]) -> None:
    assert_went_on(runs[0], "fewer", "one/a share of the batch", 1)


def test_what_one_process_raises_all_of_them_raise(runs: tuple[Path, list[dict[str, str]]]) -> None:
    for raised in runs[1]:
        assert raised["user's error"] == "GrngError: no such thing."
        assert "holds another run" in raised["another directory"]
    assert runs[1][0]["out of memory"] == "MemoryError: in process 1: MemoryError: much"
    assert runs[1][1]["out of memory"] == "MemoryError: much"


def test_nothing_else_went_wrong(runs: tuple[Path, list[dict[str, str]]]) -> None:
    expected = {"stopped", "user's error", "out of memory", "another directory"}
    assert set(runs[1][0]) == set(runs[1][1]) == {*expected, "fewer"}


def test_one_process_asks_nobody() -> None:
    assert ALONE.gathered([1.0, 2.0]) == [[1.0, 2.0]]
    assert ALONE.totals([0.1, 3.0]) == [0.1, 3.0]
    assert ALONE.mean(0.1) == 0.1


def test_more_processes_than_samples_are_refused() -> None:
    config = plain_config("sgd", training={"batch_size": 8, "grad_accum": 4})
    with pytest.raises(GrngError, match="3 processes cannot share each of 4 micro-batches of 2 samples"):
        resolve(replace(config, machine=replace(config.machine, processes=3)))


def test_an_optimizer_that_knows_nothing_of_processes_is_refused() -> None:
    config = plain_config("timm:adahessian")
    with pytest.raises(GrngError, match="timm:adahessian does not average"):
        resolve(replace(config, machine=replace(config.machine, processes=2)))


# --- every optimizer

MORE = "reng, double"


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("every")
    jobs = [job for name, (config, double) in ALL.items() for job in both(name, config, double=double)]
    more, double = ALL[MORE]
    jobs += [
        ("stopped", Job("more", more, stop=2, alone=True, double=double)),
        ("more", Job("more", more, double=double)),
    ]
    first, second = in_ranks(jobs, directory)
    assert (list(first), second) == (["stopped"], {})
    return directory


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("name", ALL)
def test_every_optimizer_takes_the_steps_of_one_process(name: str, every: Path) -> None:
    assert_same_training(every, name, within=1e-5 if ALL[name][1] else 1e-3)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_two_processes_go_on_with_a_run_of_one(every: Path) -> None:
    assert_went_on(every, "more", f"one/{MORE}", WORLD)
