"""What a sweep shows in a notebook, and settings given as a plain mapping."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from grng.errors import ConfigError, UnknownNameError
from grng.experiments.compare_config import CompareConfig
from grng.experiments.given import as_config
from grng.experiments.sweeps.objectives import RunOutcome
from grng.experiments.sweeps.summary import Summary
from grng.experiments.sweeps.trials import Trial
from grng.report.axes import Axis


def trial(number: int, lr: float, value: float | None, status: str = "finished") -> Trial:
    runs = () if value is None else (RunOutcome(0, status, val_accuracy=value),)
    return Trial(number, {"lr": lr, "step_norm": "<b>rms</b>"}, value, runs)


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    trials = (trial(0, 0.01, 0.5), trial(1, 0.1, 0.0, "diverged"), trial(2, 0.02, 0.9), trial(3, 0.03, None))
    return Summary(
        directory=tmp_path,
        optimizer="ring",
        model="test_vit",
        dataset="digits",
        objective="accuracy",
        sampler="qmc",
        seed=0,
        tuning_seeds=(1_000_000,),
        space={"lr": "log(0.001, 0.1)"},
        trials=trials,
        best=trials[2],
        importance={},
        edges=(),
        axes={"lr": Axis("lr", 0.001, 0.1, "log")},
    )


def test_the_table_has_a_row_a_trial(summary: Summary) -> None:
    table = summary.table()
    assert list(table.columns) == ["status", "value", "val_accuracy", "lr", "step_norm"]
    assert list(table.index) == [0, 1, 2, 3]
    assert table.loc[1, "status"] == "diverged"
    assert table.loc[2, "value"] == 0.9
    assert math.isnan(table.loc[3, "value"])


def test_the_figure_has_the_trials_that_finished_and_the_best_so_far(summary: Summary) -> None:
    points, best = summary.plot().data
    assert (points.x, points.y) == ((0, 2), (0.5, 0.9))
    assert (best.x, best.y) == ((0, 2, 3), (0.5, 0.9, 0.9))
    over_lr = summary.plot("lr")
    assert over_lr.data[0].x == (0.01, 0.02)
    assert over_lr.layout.xaxis.type == "log"
    with pytest.raises(UnknownNameError, match=r"'lrr' were searched. Did you mean 'lr'\?"):
        summary.plot("lrr")


def test_html_says_what_came_of_it_and_escapes_values(summary: Summary) -> None:
    page = summary._repr_html_()
    assert "ring on test_vit and digits: 2 finished, 1 diverged, 1 running" in page
    assert "best: trial 2: lr=0.02, step_norm=&lt;b&gt;rms&lt;/b&gt;" in page
    assert "<b>rms</b>" not in page


def test_a_mapping_is_what_a_file_with_these_settings_would_be() -> None:
    config = as_config(CompareConfig, {"optimizers": "adamw,ring[rho=0.1]", "seeds": 2, "training": {"epochs": 5}})
    assert [entry.name for entry in config.optimizers] == ["adamw", "ring"]
    assert config.seeds == [0, 1]
    assert config.training.epochs == 5


def test_every_problem_of_a_mapping_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        as_config(CompareConfig, {"optimisers": "adamw", "training": {"epoch": 5}})
    text = str(caught.value)
    assert "optimizers" in text
    assert "epochs" in text
