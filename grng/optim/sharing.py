"""Inverses and eigenbases shared out over the processes: each layer's is computed by one of them, and sent to all.

The factors are the same in every process, so that any of them can invert them, and all have the same bits afterwards.
The layers that are due in a step are dealt out by what they cost, the dearest first, each to the process with least
work so far (as kfac-pytorch and Osawa et al. 2019, arXiv 1811.12019, do it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from grng.curvature.inverse import NewtonReport
from grng.optim.processes import Processes

LEAST_WORK = 2.0e7
"""Sum of n³ over the factors that are due, below which sending may cost more than it saves.

Measured twice by benchmarks/inverse_sharing.py, two processes on two cores that others used, too, 16 factors: at 5e5
sharing takes 1.6 times as long by Cholesky (eigenbases 1.1), at 4e6 0.8 to 1.3 of the time, at 3.4e7 0.76 to 0.82 of it
(eigenbases 0.6), at 2.7e8 0.6 to 0.8. The value lies where it has begun to pay either way.
"""

Refreshed = tuple[bool, list[NewtonReport]]


def work(state: dict[str, Any]) -> float:
    """Return n³ summed over all blocks of a layer's factors."""
    factors: list[Tensor] = [state["A"], state["G"]]
    return sum(float(factor.shape[0]) * factor.shape[-1] ** 3 for factor in factors)


def owners(works: Sequence[float], processes: int) -> list[int]:
    """Return for each piece of work the process that does it."""
    loads = [0.0] * processes
    found = [0] * len(works)
    for place in sorted(range(len(works)), key=lambda index: -works[index]):  # stable: equal ones keep their order
        found[place] = loads.index(min(loads))
        loads[found[place]] += works[place]
    return found


def worthwhile(states: Sequence[dict[str, Any]]) -> bool:
    """Whether there is enough to share out."""
    return len(states) > 1 and sum(map(work, states)) >= LEAST_WORK


def refresh_shared(
    states: Sequence[dict[str, Any]],
    groups: Sequence[int],
    refresh: Callable[[int], Refreshed],
    processes: Processes,
    *,
    exact: bool,
) -> list[Refreshed]:
    """Refresh the blocks of several layers, each in one process; return what `refresh` returned for each.

    Args:
        states: The layers' states, the same in all processes, their damping set.
        groups: Groups of each layer.
        refresh: Computes the inverses or eigenbases of one of them anew, by its number.
        processes: The processes.
        exact: Whether it is eigenbases.
    """
    by = owners([work(state) for state in states], processes.size)
    own = {place: refresh(place) for place, owner in enumerate(by) if owner == processes.rank}
    rows = [_row(*own[place]) if place in own else [0.0] * _COLUMNS for place in range(len(states))]
    told = processes.totals([number for row in rows for number in row])
    for owner in range(processes.size):
        sent: list[tuple[dict[str, Any], str, Tensor]] = []
        for state, count in ((states[place], groups[place]) for place, one in enumerate(by) if one == owner):
            shapes = _shapes(state, count, exact=exact)
            for key, shape in shapes.items():
                # all keep them in one memory layout: products with another are rounded differently
                sent.append((state, key, state[key].contiguous() if owner == processes.rank else _room(state, shape)))
        processes.broadcast([value for _, _, value in sent], owner)
        for state, key, value in sent:
            state[key] = value
    return [_read(told[begin : begin + _COLUMNS]) for begin in range(0, len(told), _COLUMNS)]


def _shapes(state: dict[str, Any], groups: int, *, exact: bool) -> dict[str, tuple[int, ...]]:
    """Return what a refresh leaves in a layer's state."""
    found: dict[str, tuple[int, ...]] = {}
    for factor in ("A", "G"):
        shape = tuple(state[factor].shape)
        found |= {f"{factor}_values": shape[:-1], f"{factor}_vectors": shape} if exact else {f"{factor}_inverse": shape}
    if exact and "eigenvalues" in state:
        found["eigenvalues"] = tuple(state["eigenvalues"].shape)
    if not exact and len(state["A"]) > groups:
        found["bias_inverse"] = (groups,)
    return found


def _room(state: dict[str, Any], shape: tuple[int, ...]) -> Tensor:
    factor: Tensor = state["A"]
    return factor.new_empty(shape)


_COLUMNS = 8  # success, number of reports, and of two reports three numbers


def _row(good: bool, reports: Sequence[NewtonReport]) -> list[float]:
    numbers = [float(good), float(len(reports))]
    for report in reports:
        numbers += [report.residual, float(report.iterations), float(report.converged)]
    return numbers + [0.0] * (_COLUMNS - len(numbers))


def _read(row: Sequence[float]) -> Refreshed:
    reports = [row[2 + 3 * number : 5 + 3 * number] for number in range(round(row[1]))]
    return row[0] > 0, [NewtonReport(residual, round(spent), bool(well)) for residual, spent, well in reports]
