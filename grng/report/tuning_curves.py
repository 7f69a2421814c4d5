"""Which optimizer wins after 1, 5, 20 trials: the expected best of k of a sweep's trials, from its directory alone.

Of n trials the best of k is taken over all ways of drawing k of them (`grng.statistics.best_of`). A trial that diverged
or failed has the worst value there is: accuracy 0, else infinity, and so has one that never reached the target. The
expected best is infinite as long as a draw may have such trials alone; the ends of the band are those of the draws.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grng.statistics import best_of

SUMMARY = "sweep.json"
BAND = 0.8
"""Share of the draws whose best lies within the band."""


@dataclass(frozen=True, slots=True)
class Point:
    """The best of k trials.

    Attributes:
        k: Trials drawn.
        mean: Expected best; infinite where no draw is sure to have a finite one.
        low: Lower end of the band.
        high: Its upper end.
    """

    k: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """What a tuning budget of k trials would have found.

    Attributes:
        objective: Of the sweep.
        maximise: Whether large values are good.
        sampler: How the values of the trials were chosen.
        trials: How many trials there are.
        points: At 1, 2, 5, 10, 20, … and all trials.
    """

    objective: str
    maximise: bool
    sampler: str
    trials: int
    points: tuple[Point, ...]

    @property
    def ks(self) -> list[int]:
        """The budgets."""
        return [point.k for point in self.points]

    def at(self, k: int) -> Point | None:
        """Return the point at `k`, None where there is none."""
        return next((point for point in self.points if point.k == k), None)


def budgets(trials: int) -> list[int]:
    """Return 1, 2, 5, 10, 20, … up to the number of trials, and that number."""
    return sorted({*(k for k in _one_two_five(trials)), trials})


def _one_two_five(most: int) -> Iterator[int]:
    power = 1
    while power <= most:
        yield from (factor * power for factor in (1, 2, 5) if factor * power <= most)
        power *= 10


def curve_of(
    values: Sequence[float], *, objective: str, maximise: bool, sampler: str = "qmc", ks: Sequence[int] = ()
) -> Curve:
    """Return the curve of trials.

    Args:
        values: One a trial, at least one; infinite where a trial has none and small values are good.
        objective: What they are.
        maximise: Whether large values are good.
        sampler: How the trials were chosen.
        ks: Further budgets, besides 1, 2, 5, 10, …
    """
    every = sorted({*budgets(len(values)), *(k for k in ks if 1 <= k <= len(values))})
    points = tuple(_point(values, k, maximise=maximise) for k in every)
    return Curve(objective, maximise, sampler, len(values), points)


def _point(values: Sequence[float], k: int, *, maximise: bool) -> Point:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Point(k, math.inf, math.inf, math.inf)
    # `best_of` takes finite scores: a stand-in that is worse than all of them, read back as infinity.
    stand_in = max(finite) + 1.0
    best = best_of([value if math.isfinite(value) else stand_in for value in values], k, maximise=maximise, band=BAND)
    low, high = (math.inf if not maximise and end == stand_in else end for end in (best.low, best.high))
    lost = len(values) - len(finite) >= k
    return Point(k, math.inf if lost else best.mean, low, high)


def read_curves(directories: Mapping[str, Path]) -> dict[str, Curve]:
    """Return the curve of each sweep, all at the same budgets as far as there are trials.

    What cannot be read, or has no trial that ended, is left out.

    Args:
        directories: The sweeps', by label.
    """
    found = {label: trials for label, directory in directories.items() if (trials := _read(directory)) is not None}
    ks = sorted({k for trials in found.values() for k in budgets(len(trials.values))})
    return {
        label: curve_of(
            trials.values, objective=trials.objective, maximise=trials.maximise, sampler=trials.sampler, ks=ks
        )
        for label, trials in found.items()
    }


@dataclass(frozen=True, slots=True)
class _Trials:
    objective: str
    maximise: bool
    sampler: str
    values: tuple[float, ...]


def _read(directory: Path) -> _Trials | None:
    try:
        found = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        maximise = found["direction"] == "maximize"
        values = tuple(_value(one, maximise=maximise) for one in found["trials"] if one["status"] != "running")
        return _Trials(str(found["objective"]), maximise, str(found["sampler"]), values) if values else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _value(trial: Mapping[str, Any], *, maximise: bool) -> float:
    value = trial["value"]
    if value is not None and trial["status"] in ("finished", "pruned"):
        return float(value)
    return 0.0 if maximise else math.inf


def lead_sentence(curves: Mapping[str, Curve], words: str) -> str | None:
    """Return who leads at each budget that all rows have; None where rows cannot be compared.

    Args:
        curves: By label.
        words: What the best is, "validation accuracy".
    """
    if len(curves) < 2 or len({curve.objective for curve in curves.values()}) > 1:
        return None
    common = [k for k in next(iter(curves.values())).ks if all(curve.at(k) for curve in curves.values())]
    spans: list[tuple[str, list[int]]] = []
    for k in common:
        leader = _leader(curves, k)
        if spans and spans[-1][0] == leader:
            spans[-1][1].append(k)
        else:
            spans.append((leader, [k]))
    if not spans:
        return None
    (first, ks), *rest = spans
    told = [f"after {_listed(ks)} {'trial' if ks == [1] else 'trials'} {first} leads"]
    told += [f"after {_listed(ks)} {leader}" for leader, ks in rest]
    return f"best {words} to be expected: {', '.join(told)}"


def _leader(curves: Mapping[str, Curve], k: int) -> str:
    means = {label: point.mean for label, curve in curves.items() if (point := curve.at(k)) is not None}
    best = (max if next(iter(curves.values())).maximise else min)(means.values())
    if math.isinf(best):
        return "nobody"
    return " and ".join(label for label, mean in means.items() if math.isclose(mean, best, rel_tol=1e-12))


def _listed(ks: Sequence[int]) -> str:
    return f"{', '.join(map(str, ks[:-1]))} and {ks[-1]}" if len(ks) > 1 else str(ks[0])
