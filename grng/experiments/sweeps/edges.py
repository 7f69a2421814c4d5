"""Whether the space was wide enough: best values at an end of their range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from grng.errors import GrngError
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.space_grammar import Choice, Real, Whole, written
from grng.experiments.sweeps.spaces import Space, run_config
from grng.experiments.sweeps.trials import Trial

EDGE = 0.05
"""Share of a range, on its scale, that counts as its edge."""


@dataclass(frozen=True)
class Edge:
    """A best value at the end of its range: a better one may lie beyond.

    Args:
        name: Of what is searched.
        value: The best trial's.
        bound: The end of the range that it is at.
        upper: Whether that is the upper one.
        space: The range.
        wider: An expression whose range goes further.
    """

    name: str
    value: Any
    bound: float
    upper: bool
    space: str
    wider: str

    def sentence(self) -> str:
        """Return what to say about it."""
        side = "upper" if self.upper else "lower"
        return (
            f"the best {self.name}, {written(self.value)}, is at the {side} end of what was searched, {self.space}: "
            f"a better one may lie beyond {written(self.bound)}. Move it with --space '{self.name}={self.wider}'."
        )


def edges(config: SweepConfig, space: Space, best: Trial) -> list[Edge]:
    """Return the values of the best trial that are at an end of their range which can be moved."""

    def allowed(name: str, bound: float) -> bool:
        try:
            run_config(config, {**best.values, name: bound}, seed=config.seeds[0])
        except GrngError:
            return False
        return True

    found = []
    for name, dimension in space.items():
        if isinstance(dimension, Choice):
            continue
        position = dimension.position(best.values[name])
        if EDGE < position < 1 - EDGE:
            continue
        upper = position > EDGE
        wider = _wider(dimension, partial(allowed, name), upper=upper)
        if wider is not None:
            bound = dimension.high if upper else dimension.low
            found.append(Edge(name, best.values[name], bound, upper, str(dimension), str(wider)))
    return found


def _wider(dimension: Real | Whole, allowed: Callable[[float], bool], *, upper: bool) -> Real | Whole | None:
    """Return a range that goes further at one end, as far as is allowed; None: it cannot."""
    for share in (1.0, 0.5, 0.25, 0.125, 0.0625):
        bound = _beyond(dimension, share, upper=upper)
        low, high = (dimension.low, bound) if upper else (bound, dimension.high)
        if bound in (dimension.low, dimension.high) or (dimension.log and low <= 0) or not allowed(bound):
            continue
        if isinstance(dimension, Whole):
            return Whole(int(low), int(high), dimension.log)
        return Real(low, high, dimension.log)
    return None


def _beyond(dimension: Real | Whole, share: float, *, upper: bool) -> float:
    """Return a bound beyond an end: ten times further on a logarithmic scale, the range's width on another."""
    end = dimension.high if upper else dimension.low
    if dimension.log:
        value = end * 10 ** (share if upper else -share)
    else:
        value = end + share * (dimension.high - dimension.low) * (1 if upper else -1)
    return round(value) if isinstance(dimension, Whole) else float(f"{value:.3g}")
