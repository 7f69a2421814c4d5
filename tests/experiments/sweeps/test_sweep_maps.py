from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from grng.errors import ConfigError
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.maps import axes_of, check_maps
from grng.experiments.sweeps.space_grammar import parse
from grng.experiments.sweeps.spaces import Space
from grng.report.axes import Axis


def space(**given: Any) -> Space:
    return {name.replace("__", "."): parse(value, where=name) for name, value in given.items()}


SPACE = space(
    lr="log(1e-3, 1e-1)", momentum="uniform(0.5, 0.9)", training__warmup="int(0, 50)", weight_decay=[0.2, 0, 0.05],
    inverse_interval="logint(1, 5)", step_norm=["rms", "none"], eigenvalue_correction=[True, False], kl_clip=[None, 0.1],
)  # fmt: skip


def test_numbers_that_are_searched_are_axes_on_their_own_scale() -> None:
    assert axes_of(SPACE, grid=False) == {
        "lr": Axis("lr", 1e-3, 1e-1, "log"),
        "momentum": Axis("momentum", 0.5, 0.9),
        "training.warmup": Axis("training.warmup", 0, 50, whole=True),
        "weight_decay": Axis("weight_decay", 0.0, 0.2, values=(0.0, 0.05, 0.2)),
        "inverse_interval": Axis("inverse_interval", 1, 5, "log", (1.0, 2.0, 3.0, 4.0, 5.0), whole=True),
    }, "words, switches and what may be null are none"


def test_every_whole_number_of_a_grid_has_its_cell() -> None:
    axes = axes_of(space(lr=[0.1, 0.01], training__warmup="int(0, 11)"), grid=True)
    assert axes["training.warmup"].values == tuple(map(float, range(12)))
    assert axes["lr"].values == (0.01, 0.1)


@pytest.mark.parametrize(
    ("given", "pairs"),
    [
        (None, None),
        ([], []),
        ("lr, momentum", [["lr", "momentum"]]),
        (["lr,momentum", ["optimizer.lr", "training.warmup"]], [["lr", "momentum"], ["lr", "training.warmup"]]),
    ],
)
def test_how_pairs_are_written(given: Any, pairs: Any) -> None:
    config = SweepConfig.model_validate({"maps": given})
    assert config.maps == pairs
    check_maps(config, SPACE)


@pytest.mark.parametrize("given", ["lr", "lr,", ["lr,rho,damping"], [["lr"]], [3], [["lr", 3]]])
def test_what_is_no_pair(given: Any) -> None:
    with pytest.raises(ValidationError, match="must be two names, as in lr,damping, not "):
        SweepConfig.model_validate({"maps": given})


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            "lr,momentun",
            "maps: momentun is not searched, so there is no map of it. Did you mean 'momentum'?",
        ),
        ("lr,lr", "maps: a map needs two hyperparameters, not lr twice."),
        (
            "lr,step_norm",
            (
                "maps: step_norm is no number, so there is no map of it. "
                "Maps are of two of: lr, momentum, training.warmup, weight_decay, inverse_interval."
            ),
        ),
    ],
)
def test_what_there_is_no_map_of(pair: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_maps(SweepConfig.model_validate({"maps": pair}), SPACE)
    assert str(caught.value) == message
