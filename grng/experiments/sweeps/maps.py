"""Which of a sweep's hyperparameters maps can be made of, and whether those that were asked for are among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grng.errors import ConfigError, GrngError, suggest
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.space_grammar import Choice, Dimension, Whole
from grng.experiments.sweeps.spaces import Space
from grng.report.axes import Axis, Scale
from grng.runs.schema import Locate

FEW = 8
"""Whole numbers of a range that have a row or column each, where not all combinations are tried."""


def axes_of(space: Space, *, grid: bool) -> dict[str, Axis]:
    """Return the numeric hyperparameters of a space as axes, in its order.

    Args:
        space: What is searched.
        grid: Whether all combinations are tried.
    """
    found = {name: _axis(name, dimension, grid=grid) for name, dimension in space.items()}
    return {name: axis for name, axis in found.items() if axis is not None}


def check_maps(config: SweepConfig, space: Space, *, locate: Locate | None = None) -> None:
    """Check that the pairs that were asked for are of numbers that are searched.

    Raises:
        ConfigError: With every problem.
    """
    where = locate(("maps",)) if locate else "maps"
    problems = list(_problems(config.maps or (), space, where))
    if problems:
        raise ConfigError(problems)


def _problems(pairs: Sequence[Sequence[str]], space: Space, where: str) -> Iterator[GrngError]:
    numeric = list(axes_of(space, grid=False))
    for pair in pairs:
        if pair[0] == pair[1]:
            yield GrngError(f"a map needs two hyperparameters, not {pair[0]} twice.", where=where)
        for name in dict.fromkeys(pair):
            if name in numeric:
                continue
            what = f"{name} is no number" if name in space else f"{name} is not searched"
            hint = suggest(name, numeric, otherwise=f"Maps are of two of: {', '.join(numeric) or 'none'}.")
            yield GrngError(f"{what}, so there is no map of it.", where=where, hint=hint)


def _axis(name: str, dimension: Dimension, *, grid: bool) -> Axis | None:
    if isinstance(dimension, Choice):
        numbers = [float(value) for value in dimension.values if _is_number(value)]
        if len(numbers) < len(dimension.values):
            return None
        return Axis(name, min(numbers), max(numbers), values=tuple(sorted(numbers)))
    scale: Scale = "log" if dimension.log else "linear"
    if isinstance(dimension, Whole) and (grid or dimension.high - dimension.low < FEW):
        values = tuple(map(float, range(dimension.low, dimension.high + 1)))
        return Axis(name, dimension.low, dimension.high, scale, values, whole=True)
    return Axis(name, dimension.low, dimension.high, scale, whole=isinstance(dimension, Whole))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
