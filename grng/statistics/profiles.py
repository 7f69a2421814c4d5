"""Performance profiles over workloads (Dolan & Moré 2002), as AlgoPerf scores them (Dahl et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grng.statistics.checks import Array


@dataclass(frozen=True, slots=True)
class Profiles:
    """How often each optimizer is how near to the fastest.

    Attributes:
        taus: Factors τ from 1 to the largest, ascending.
        shares: By optimizer, the share of the workloads on which its cost is at most τ times the lowest; one a τ.
        scores: By optimizer, the area below its profile over that of one that is the fastest everywhere, in [0, 1].
    """

    taus: tuple[float, ...]
    shares: Mapping[str, tuple[float, ...]]
    scores: Mapping[str, float]


def performance_profiles(costs: Mapping[str, Sequence[float]], *, largest: float = 4.0, points: int = 100) -> Profiles:
    """Return the performance profiles of costs (times or steps to the target).

    Args:
        costs: By optimizer, one positive cost a workload, in one order; infinity: the target was never reached.
        largest: τ up to which profiles go; AlgoPerf takes 4.
        points: Values of τ, at even distances; the area is that of the trapezoids between them.
    """
    if not largest > 1 or points < 2:
        raise ValueError("performance_profiles: largest must be above 1, points at least 2")
    ratios = _ratios(costs)
    taus: Array = np.linspace(1.0, largest, points)
    shares = (ratios[:, :, None] <= taus).mean(axis=1)
    areas = np.trapezoid(shares, taus, axis=1) / (largest - 1)
    return Profiles(
        tuple(taus.tolist()),
        {label: tuple(row.tolist()) for label, row in zip(costs, shares, strict=True)},
        {label: float(area) for label, area in zip(costs, areas, strict=True)},
    )


def profile_shares(costs: Mapping[str, Sequence[float]], taus: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """Return the profiles of `performance_profiles` at a few factors τ, exactly.

    Args:
        costs: By optimizer, one positive cost a workload, in one order; infinity: the target was never reached.
        taus: Factors, at least 1.
    """
    ratios = _ratios(costs)
    shares = (ratios[:, :, None] <= np.array(taus, dtype=np.float64)).mean(axis=1)
    return {label: tuple(row.tolist()) for label, row in zip(costs, shares, strict=True)}


def _ratios(costs: Mapping[str, Sequence[float]]) -> Array:
    """Return costs over the lowest of their workload, [optimizers, workloads]."""
    lengths = {len(values) for values in costs.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError("performance_profiles: needs the same workloads, at least one, for every optimizer")
    table = np.array([list(values) for values in costs.values()], dtype=np.float64)
    if np.isnan(table).any() or (table <= 0).any():
        raise ValueError("performance_profiles: needs positive costs and no NaN")
    best = table.min(axis=0)
    # Where nobody got there, nobody is near the best: infinity over infinity is not 1.
    ratios: Array = np.where(np.isfinite(table), table / np.where(np.isfinite(best), best, 1.0), np.inf)
    return ratios
