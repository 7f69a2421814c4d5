"""Trials are a function of seed and number, as the literature has them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from grng.experiments.sweeps.samplers import from_optuna, grid_size, propose, to_optuna
from grng.experiments.sweeps.space_grammar import Choice, Real, Whole
from grng.experiments.sweeps.spaces import Space

SPACE: Space = {"lr": Real(1e-4, 1.0, log=True), "b": Whole(0, 9, log=False), "a": Choice((None, [0.9, 0.99]))}
GRID: Space = {"norm": Choice(("rms", "none")), "interval": Whole(3, 5, log=False)}


def draw(sampler: str, number: int, *, seed: int = 0, space: Space = SPACE) -> dict[str, Any]:
    return propose(sampler, space, seed=seed, number=number, trials=(), minimize=True)


def test_qmc_is_the_scrambled_sobol_sequence_in_the_order_of_the_names() -> None:
    points = qmc.Sobol(3, scramble=True, seed=5).random(8)
    for number, (a, b, lr) in enumerate(points):
        expected = {"lr": SPACE["lr"].at(lr), "b": SPACE["b"].at(b), "a": SPACE["a"].at(a)}
        assert draw("qmc", number, seed=5) == expected
    reordered = dict(sorted(SPACE.items()))
    assert draw("qmc", 3, space=reordered) == draw("qmc", 3)


def test_random_draws_are_uniform_on_their_scale_and_differ_by_seed_and_number() -> None:
    space = {"lr": SPACE["lr"]}
    drawn = [draw("random", number, seed=seed, space=space)["lr"] for seed in (0, 1) for number in range(100)]
    assert len(set(drawn)) > 190, "four digits are kept, so that some are equal"
    assert np.histogram(np.log10(drawn), bins=4, range=(-4, 0))[0] == pytest.approx(50, abs=25)
    assert draw("random", 7) == draw("random", 7)


def test_a_grid_is_every_combination_once() -> None:
    size = grid_size(GRID)
    assert size == 6
    found = [tuple(draw("grid", number, space=GRID).values()) for number in range(6)]
    assert found == list(itertools.product(("rms", "none"), (3, 4, 5)))
    assert grid_size(SPACE) is None


def test_what_optuna_stores_comes_back() -> None:
    for value in (None, [0.9, 0.99]):
        values = {"lr": 0.0123, "b": 4, "a": value}
        assert from_optuna(SPACE, to_optuna(SPACE, values)) == values


def test_tpe_goes_where_trials_were_good_and_is_a_function_of_them() -> None:
    import optuna

    from grng.experiments.sweeps.samplers import distribution, quiet_optuna

    space: Space = {"x": Real(0.0, 1.0, log=False)}
    distributions = {"x": distribution(space["x"])}
    with quiet_optuna():
        trials = [
            optuna.trial.create_trial(value=abs(x - 0.8), params={"x": x}, distributions=distributions)
            for x in np.linspace(0.01, 0.99, 30)
        ]
    for index, trial in enumerate(trials):
        trial.number = index

    def ask(number: int, minimize: bool) -> float:
        asked = propose("tpe", space, seed=1, number=number, trials=trials, minimize=minimize)
        return float(asked["x"])

    assert ask(30, True) == ask(30, True)
    assert np.median([ask(number, True) for number in range(30, 37)]) == pytest.approx(0.8, abs=0.1)
    assert np.median([ask(number, False) for number in range(30, 37)]) < 0.3


@pytest.mark.parametrize("minimize", [True, False])
def test_tpe_is_what_optunas_own_study_asks_for(minimize: bool) -> None:
    import optuna

    from grng.experiments.sweeps.samplers import distribution, quiet_optuna

    space = {**SPACE, "one": Choice(("alone",)), "fixed": Whole(3, 3, log=False)}
    distributions = {name: distribution(one) for name, one in space.items()}
    draws = np.random.default_rng(0).random((40, len(space)))
    values = [{name: one.at(unit) for (name, one), unit in zip(space.items(), draw, strict=True)} for draw in draws]
    states = [optuna.trial.TrialState.RUNNING if n % 9 == 8 else optuna.trial.TrialState.COMPLETE for n in range(40)]
    with quiet_optuna():
        trials = [
            optuna.trial.create_trial(
                state=state,
                value=None if state == optuna.trial.TrialState.RUNNING else float(one["lr"]),
                params=to_optuna(space, one),
                distributions=distributions,
            )
            for one, state in zip(values, states, strict=True)
        ]
        for number, trial in enumerate(trials):
            trial.number = number
        for count in (0, 5, 40):
            derived = int(np.random.SeedSequence([3, count]).generate_state(1)[0])
            sampler = optuna.samplers.TPESampler(seed=derived, constant_liar=True)
            study = optuna.create_study(direction="minimize" if minimize else "maximize", sampler=sampler)
            study.add_trials(trials[:count])
            asked = study.ask({name: distributions[name] for name in sorted(space)})
            ours = propose("tpe", space, seed=3, number=count, trials=trials[:count], minimize=minimize)
            assert ours == from_optuna(space, asked.params)
