"""Intervals, paired tests, corrections, plans and profiles for a handful of seeds: pure functions on floats.

Why these and no others: with three to ten seeds a bootstrap interval covers far less than it says (74 % for three seeds
at a nominal 95 %), a Student-t interval covers what it says when the values are roughly normal; a sign-flip test of
paired differences assumes only that a difference is as likely to be positive as negative when nothing is there, and is
exact at any n. Its price: with n pairs its p cannot be below 2 / 2^n.

All functions raise ValueError on input that has no answer (no values, NaN, unpaired lengths): callers decide what a
hole in a table is.
"""

from grng.statistics.corrections import SIGNIFICANCE, holm
from grng.statistics.effects import effect_size, win_share
from grng.statistics.equivalence import Equivalence, equivalence_test
from grng.statistics.intervals import (
    BOOTSTRAP_FROM,
    Interval,
    IntervalKind,
    bootstrap_interval,
    mean_interval,
    mean_test,
    median,
    ratio_interval,
)
from grng.statistics.paired import (
    EXACT_LIMIT,
    PairedComparison,
    paired_comparison,
    paired_comparisons,
    seeds_needed,
    sign_flip_test,
    smallest_p,
    wilcoxon_test,
)
from grng.statistics.power import paired_power, seeds_for_power, sign_flip_power, spread_interval
from grng.statistics.profiles import Profiles, performance_profiles, profile_shares
from grng.statistics.ranks import MeanRank, mean_ranks
from grng.statistics.rates import GeometricRate, geometric_rate, steps_to
from grng.statistics.selection import BestOf, best_of
from grng.statistics.signs import SignTest, share_interval, sign_test

__all__ = [
    "BOOTSTRAP_FROM",
    "EXACT_LIMIT",
    "SIGNIFICANCE",
    "BestOf",
    "Equivalence",
    "GeometricRate",
    "Interval",
    "IntervalKind",
    "MeanRank",
    "PairedComparison",
    "Profiles",
    "SignTest",
    "best_of",
    "bootstrap_interval",
    "effect_size",
    "equivalence_test",
    "geometric_rate",
    "holm",
    "mean_interval",
    "mean_ranks",
    "mean_test",
    "median",
    "paired_comparison",
    "paired_comparisons",
    "paired_power",
    "performance_profiles",
    "profile_shares",
    "ratio_interval",
    "seeds_for_power",
    "seeds_needed",
    "share_interval",
    "sign_flip_power",
    "sign_flip_test",
    "sign_test",
    "smallest_p",
    "spread_interval",
    "steps_to",
    "wilcoxon_test",
    "win_share",
]
