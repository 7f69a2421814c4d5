"""The values of a trial, from the sweep's seed and the trial's number.

`qmc`, `random` and `grid` need nothing else: a sweep that is cut off, shared among processes or made longer tries the
same values in the same order. `tpe` (Optuna's) looks at the trials so far; its own randomness is derived in the same
way, so that one worker tries the same values, too.

The default is quasi-random: the points of a scrambled Sobol sequence cover every projection of the space more evenly
than independent draws (Bergstra & Bengio 2012, §4.2), every beginning of it does, and unlike `tpe` it does not depend
on which trials have ended when the next begins.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from grng.experiments.sweeps.space_grammar import Choice, Dimension, Real
from grng.experiments.sweeps.spaces import Space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def propose(
    sampler: str, space: Space, *, seed: int, number: int, trials: Sequence[FrozenTrial], minimize: bool
) -> dict[str, Any]:
    """Return the values of trial `number`, by name.

    Args:
        sampler: qmc, random, tpe or grid.
        space: What is searched.
        seed: The sweep's.
        number: The trial's, from 0.
        trials: The trials before it, as Optuna has them; only tpe looks at them.
        minimize: Whether their values are to be small.
    """
    if sampler == "tpe":
        return _tpe(space, seed=seed, number=number, trials=trials, minimize=minimize)
    if sampler == "grid":
        return _grid(space, number)
    names = sorted(space)  # the order of a file's keys is no part of a sweep
    draw = _sobol if sampler == "qmc" else _uniform
    point = draw(len(names), seed=seed, number=number)
    units = dict(zip(names, point, strict=True))
    return {name: dimension.at(units[name]) for name, dimension in space.items()}


def grid_size(space: Space) -> int | None:
    """Return the number of combinations, or None where some dimension is not countable."""
    if any(isinstance(dimension, Real) for dimension in space.values()):
        return None
    return math.prod(_count(dimension) for dimension in space.values())


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return the dimension as Optuna has it; choices by their text, since it stores plain values alone."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.texts)
    if isinstance(dimension, Real):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return IntDistribution(dimension.low, dimension.high, log=dimension.log)


def to_optuna(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    """Return values as Optuna stores them."""
    return {
        name: one.texts[one.values.index(values[name])] if isinstance(one, Choice) else values[name]
        for name, one in space.items()
    }


def from_optuna(space: Space, stored: dict[str, Any]) -> dict[str, Any]:
    """Return values that Optuna stored or suggested."""
    return {
        name: one.values[one.texts.index(stored[name])] if isinstance(one, Choice) else one.rounded(stored[name])
        for name, one in space.items()
    }


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Leave out what Optuna reports on the way: each trial, and which of its parts are young."""
    import warnings

    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _sobol(dimensions: int, *, seed: int, number: int) -> list[float]:
    from scipy.stats import qmc

    engine = qmc.Sobol(dimensions, scramble=True, seed=seed)
    if number:
        engine.fast_forward(number)
    return [float(unit) for unit in engine.random(1)[0]]


def _uniform(dimensions: int, *, seed: int, number: int) -> list[float]:
    return [float(unit) for unit in np.random.default_rng([seed, number]).random(dimensions)]


def _count(dimension: Dimension) -> int:
    return len(dimension.values) if isinstance(dimension, Choice) else int(dimension.high - dimension.low) + 1


def _grid(space: Space, number: int) -> dict[str, Any]:
    """Return combination `number`, the last name changing fastest."""
    values: dict[str, Any] = {}
    for name, dimension in reversed(space.items()):
        number, digit = divmod(number, _count(dimension))
        values[name] = dimension.values[digit] if isinstance(dimension, Choice) else int(dimension.low) + digit
    return {name: values[name] for name in space}


def _tpe(space: Space, *, seed: int, number: int, trials: Sequence[FrozenTrial], minimize: bool) -> dict[str, Any]:
    """Return what `Study.ask` would, of a study with these trials; it would copy all of them for each new one."""
    import optuna
    from optuna.trial import TrialState, create_trial

    class Given(optuna.storages.InMemoryStorage):
        def get_all_trials(
            self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
        ) -> list[FrozenTrial]:
            return [trial for trial in trials if states is None or trial.state in states]

        def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
            """Forget what other processes would be told of a trial that is asked for: the journal tells them."""

    derived = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with quiet_optuna():
        # Trials that still run count as bad: several workers then look in different places.
        sampler = optuna.samplers.TPESampler(seed=derived, constant_liar=True)
        study = optuna.create_study(storage=Given(), direction="minimize" if minimize else "maximize", sampler=sampler)
        asked = create_trial(state=TrialState.RUNNING)
        together = sampler.sample_relative(study, asked, sampler.infer_relative_search_space(study, asked))
        params = {}
        for name in sorted(space):
            one = distribution(space[name])
            if one.single():
                params[name] = _only(one)
            elif name in together:
                params[name] = together[name]
            else:
                params[name] = sampler.sample_independent(study, asked, name, one)
    return from_optuna(space, params)


def _only(distribution: Any) -> Any:
    """Return the one value of a distribution with a single one."""
    return distribution.choices[0] if hasattr(distribution, "choices") else distribution.low
