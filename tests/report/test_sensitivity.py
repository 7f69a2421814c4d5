"""Maps of two hyperparameters, against counting by hand and by brute force."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from grng.errors import GrngError
from grng.report.axes import Axis
from grng.report.sensitivity import Point, SweepPoints, default_pairs, make_map, points_of, read_points

LR = Axis("lr", 1e-3, 1e-1, "log")
DAMPING = Axis("damping", 1e-4, 1.0, "log")


def points(*given: tuple[float, float, str, float | None], x: str = "lr", y: str = "damping") -> tuple[Point, ...]:
    return tuple(Point(number, {x: a, y: b}, status, value) for number, (a, b, status, value) in enumerate(given))


def sweep_of(found: tuple[Point, ...], *axes: Axis, objective: str = "accuracy", grid: bool = False) -> SweepPoints:
    by_name = {axis.name: axis for axis in axes or (LR, DAMPING)}
    return SweepPoints(objective, objective != "accuracy", grid, by_name, found)


@pytest.mark.parametrize("objective", ["accuracy", "loss"])
def test_cells_are_those_of_brute_force(objective: str) -> None:
    rng = random.Random(0)
    found = []
    for number in range(75):
        values = {"lr": 10 ** rng.uniform(-3, -1), "damping": 10 ** rng.uniform(-4, 0)}
        status = rng.choice(["finished", "finished", "diverged", "failed"])
        found.append(Point(number, values, status, rng.random() if status == "finished" else None))
    made = make_map(sweep_of(tuple(found), objective=objective), "lr", "damping")
    assert (len(made.cells), len(made.cells[0])) == (6, 6), "two trials a cell on an average, six at most"
    better = max if objective == "accuracy" else min
    chosen: dict[tuple[int, int], float] = {}
    for row in range(6):
        for column in range(6):
            cell = made.cells[row][column]
            inside = [
                point
                for point in found
                if column / 6 <= (math.log10(point.values["lr"]) + 3) / 2 < (column + 1) / 6
                and row / 6 <= (math.log10(point.values["damping"]) + 4) / 4 < (row + 1) / 6
            ]
            assert cell.trials == len(inside)
            assert cell.diverged == sum(point.status == "diverged" for point in inside)
            assert cell.failed == sum(point.status == "failed" for point in inside)
            finished = [point.value for point in inside if point.value is not None]
            assert cell.value == (better(finished) if finished else None)
            if finished:
                chosen[row, column] = better(finished)
    assert made.best == better(chosen, key=lambda place: chosen[place])


@pytest.mark.parametrize(("trials", "bins"), [(1, 2), (8, 2), (18, 3), (36, 4), (71, 5), (72, 6), (1000, 6)])
def test_there_are_as_many_bins_as_the_trials_bear(trials: int, bins: int) -> None:
    found = points(*[(0.01, 0.01, "finished", 0.5)] * trials)
    assert len(make_map(sweep_of(found), "lr", "damping").cells) == bins


def test_the_cells_of_a_grid_are_means_over_all_else() -> None:
    axes = Axis("lr", 0.1, 0.2, values=(0.1, 0.2)), Axis("damping", 1.0, 2.0, values=(1.0, 2.0))
    found = points(
        *[(0.1, 1.0, "finished", 0.5), (0.1, 1.0, "finished", 0.7), (0.2, 1.0, "finished", 0.9)],
        *[(0.2, 1.0, "diverged", None), (0.1, 2.0, "diverged", None), (0.1, 2.0, "diverged", None)],
    )
    made = make_map(sweep_of(found, *axes, grid=True), "lr", "damping")
    assert made.cells[0][0].value == pytest.approx(0.6)
    titles = [column.title for column in made.columns()]
    assert titles == ["damping \\ lr", "0.1", "0.2"]
    assert [column.cells for column in made.columns()] == [("1", "2"), ("0.600", "div"), ("0.900* (1 div)", "·")]
    assert made.heading() == "accuracy by lr (columns) and damping (rows), the mean over all else"


def test_what_cells_say() -> None:
    axes = Axis("lr", 1, 4, values=(1.0, 2.0, 3.0, 4.0)), Axis("damping", 1, 1, values=(1.0,))
    found = points(
        *[(1.0, 1.0, "finished", math.inf), (2.0, 1.0, "finished", 40.0), (2.0, 1.0, "finished", math.inf)],
        *[(2.0, 1.0, "failed", None), (2.0, 1.0, "diverged", None), (3.0, 1.0, "failed", None)],
        *[(4.0, 1.0, "diverged", None), (4.0, 1.0, "failed", None)],
    )
    made = make_map(sweep_of(found, *axes, objective="steps-to-target"), "lr", "damping")
    assert [column.cells[0] for column in made.columns()[1:]] == ["never", "40.0* (1 div, 1 failed)", "failed", "div"]
    json.dumps(made.document(), allow_nan=False)
    assert made.document()["cells"][0][0] == {"value": None, "trials": 1, "diverged": 0, "failed": 0, "pruned": 0}
    assert made.document()["points"][1] == {"trial": 1, "x": 2.0, "y": 1.0, "status": "finished", "value": 40.0}


def test_without_a_trial_that_finished_there_is_no_best_cell() -> None:
    made = make_map(sweep_of(points((0.01, 0.1, "diverged", None))), "lr", "damping")
    assert made.best is None
    assert sorted(cell for column in made.columns()[1:] for cell in column.cells) == ["div", "·", "·", "·"]


RHO, BETA = Axis("rho", 1e-3, 1.0, "log"), Axis("momentum", 0.5, 0.99)


@pytest.mark.parametrize(
    ("axes", "importance", "pairs"),
    [
        ([BETA, LR, DAMPING, RHO], {"momentum": 0.9}, [("lr", "damping"), ("lr", "rho")]),
        ([LR, RHO], {}, [("lr", "rho")]),
        ([LR, BETA, Axis("ema", 0.5, 0.9)], {"ema": 0.6, "momentum": 0.3}, [("lr", "ema")]),
        ([LR, BETA, Axis("ema", 0.5, 0.9)], {}, [("lr", "momentum")]),
        ([BETA, RHO, Axis("ema", 0.5, 0.9)], {"ema": 0.6, "rho": 0.3}, [("ema", "rho")]),
        ([LR], {}, []),
    ],
)
def test_which_maps_are_made_unasked(
    axes: list[Axis], importance: dict[str, float], pairs: list[tuple[str, str]]
) -> None:
    assert default_pairs(sweep_of((), *axes), importance) == pairs


def document(**changed: Any) -> dict[str, Any]:
    trials = [
        {"trial": 0, "status": "finished", "value": 0.5, "values": {"lr": 0.01, "step_norm": "rms"}},
        {"trial": 1, "status": "diverged", "value": 0.0, "values": {"lr": 0.1, "step_norm": "none"}},
        {"trial": 2, "status": "running", "value": None, "values": {"lr": 0.02, "step_norm": "rms"}},
        {"trial": 3, "status": "finished", "value": None, "values": {"lr": 0.02, "step_norm": "rms"}},
    ]
    plain = {"objective": "loss", "direction": "minimize", "sampler": "qmc", "axes": {"lr": LR.document()}}
    return {**plain, "trials": trials, **changed}


def test_points_are_read_from_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps(document()))
    found = read_points(tmp_path)
    assert found == points_of(document())
    assert (found.minimize, found.grid, found.axes) == (True, False, {"lr": LR})
    assert [(p.trial, p.values, p.value) for p in found.points] == [
        (0, {"lr": 0.01}, 0.5),
        (1, {"lr": 0.1}, None),
        (3, {"lr": 0.02}, math.inf),
    ], "a diverged trial's value counts for nothing, one that never reached its target is infinite"


@pytest.mark.parametrize("text", [None, "", "[1]", "{}", json.dumps({**document(), "axes": {"lr": 3}}), "[" * 100_000])
def test_what_is_no_sweep_is_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(GrngError) as caught:
        read_points(tmp_path)
    assert caught.value.where == str(tmp_path / "sweep.json")
    assert str(caught.value.hint).startswith("Give the directory of a `grng sweep`")
