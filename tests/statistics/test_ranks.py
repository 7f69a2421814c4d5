from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from grng.statistics import mean_ranks

VIT = {"adamw": [0.90, 0.91, 0.89], "ring": [0.93, 0.92, 0.94], "sgd": [0.93, 0.80, 0.85]}
RESNET = {"adamw": [0.97, 0.97, 0.97], "ring": [0.97, 0.97, 0.97], "sgd": [0.95, 0.96, 0.95]}


def test_ranks_are_averaged_and_equals_share() -> None:
    made = mean_ranks([VIT, RESNET])
    assert {label: rank.mean for label, rank in made.items()} == {"adamw": 1.75, "ring": 1.25, "sgd": 3.0}
    losses = mean_ranks([{label: [-v for v in values] for label, values in VIT.items()}], maximise=False)
    assert {label: rank.mean for label, rank in losses.items()} == {"adamw": 2.0, "ring": 1.0, "sgd": 3.0}


def test_the_interval_is_that_of_all_resamples_of_seeds() -> None:
    """Three seeds have 27 resamples: all of them, counted, against many drawn ones."""
    labels, table = list(VIT), np.array(list(VIT.values()))
    ranks = np.array(
        [
            scipy.stats.rankdata(-table[:, list(draw)].mean(axis=1).round(12))
            for draw in itertools.product(range(3), repeat=3)
        ]
    )
    made = mean_ranks([VIT], resamples=20_000, confidence=0.8)
    for index, label in enumerate(labels):
        low, high = np.quantile(ranks[:, index], [0.1, 0.9], method="inverted_cdf")
        assert (made[label].low, made[label].high) == (low, high)
        first = np.mean(ranks[:, index] == ranks.min(axis=1))
        assert made[label].best_share == pytest.approx(first, abs=0.02)
    assert mean_ranks([VIT]) == mean_ranks([VIT])


def test_a_single_seed_has_ranks_without_intervals() -> None:
    made = mean_ranks([VIT, {label: values[:1] for label, values in RESNET.items()}])
    assert {label: rank.mean for label, rank in made.items()} == {"adamw": 1.75, "ring": 1.25, "sgd": 3.0}
    assert {(rank.low, rank.high, rank.best_share) for rank in made.values()} == {(None, None, None)}


@pytest.mark.parametrize(
    "workloads",
    [[], [{}], [VIT, {"adamw": [1.0]}], [{"a": [1.0], "b": [1.0, 2.0]}], [{"a": []}], [{"a": [float("nan")]}]],
)
def test_what_has_no_ranks_is_refused(workloads: list[dict[str, list[float]]]) -> None:
    with pytest.raises(ValueError, match="mean_ranks"):
        mean_ranks(workloads)
