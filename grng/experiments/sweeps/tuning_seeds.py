"""Seeds for tuning and seeds for reporting never meet: what was chosen on a seed looks too good on it."""

from __future__ import annotations

FIRST = 1_000_000
"""The first seed that trials of a sweep are run with; those after it follow one by one."""

MAX_COUNT = 1000
"""Most tuning seeds of a trial."""


def tuning_seeds(count: int) -> list[int]:
    """Return the seeds of the runs of every trial."""
    return list(range(FIRST, FIRST + count))


def is_tuning_seed(seed: int) -> bool:
    """Return whether `seed` is kept for tuning, so that no reported number may come from it."""
    return FIRST <= seed < FIRST + MAX_COUNT
