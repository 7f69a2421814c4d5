"""One number over several workloads: the mean rank, with what the seeds leave open of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grng.statistics.checks import share


@dataclass(frozen=True, slots=True)
class MeanRank:
    """An optimizer's rank, 1 the best, averaged over workloads.

    Attributes:
        mean: Of its ranks by the mean over all seeds.
        low: Lower end of the percentile interval over resampled seeds; None where a workload has a single seed, which
            resampling would take for certain.
        high: Its upper end.
        best_share: Share of the resamples in which no optimizer has a lower mean rank; None as well.
    """

    mean: float
    low: float | None
    high: float | None
    best_share: float | None


def mean_ranks(
    workloads: Sequence[Mapping[str, Sequence[float]]],
    *,
    maximise: bool = True,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, MeanRank]:
    """Rank optimizers on every workload by their mean score and average the ranks; equals share their mean rank.

    Seeds are resampled within each workload, the same for all optimizers, since scores of a seed are pairs. The
    interval holds for these workloads: with a handful there is no telling what others would say.

    Args:
        workloads: For each, the finite scores by optimizer, one a seed, in the order of the seeds.
        maximise: Whether larger scores are better.
        confidence: Coverage of the intervals, in (0, 1).
        resamples: How many times the seeds are drawn.
        seed: Of the draws.
    """
    from scipy.stats import rankdata

    share(confidence, "mean_ranks", "confidence")
    labels = list(workloads[0]) if workloads else []
    if not labels or any(set(scores) != set(labels) for scores in workloads):
        raise ValueError("mean_ranks: needs the same optimizers, at least one, on every workload")
    generator = np.random.default_rng(seed)
    observed, resampled = np.zeros(len(labels)), np.zeros((resamples, len(labels)))
    for scores in workloads:
        if len({len(scores[label]) for label in labels}) != 1 or not scores[labels[0]]:
            raise ValueError("mean_ranks: needs the same seeds, at least one, for every optimizer of a workload")
        table = np.array([list(scores[label]) for label in labels], dtype=np.float64)  # [optimizers, seeds]
        if not np.isfinite(table).all():
            raise ValueError("mean_ranks: needs finite values")
        table = -table if maximise else table
        seeds = table.shape[1]
        draws = generator.integers(0, seeds, (resamples, seeds))
        # Rounded, since means of the same numbers in another order are equals, too.
        observed += rankdata(table.mean(axis=1).round(12))
        resampled += rankdata(table[:, draws].mean(axis=2).T.round(12), axis=1)
    observed, resampled = observed / len(workloads), resampled / len(workloads)
    if any(len(scores[labels[0]]) < 2 for scores in workloads):
        return {label: MeanRank(float(mean), None, None, None) for label, mean in zip(labels, observed, strict=True)}
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    best = (resampled <= resampled.min(axis=1, keepdims=True)).mean(axis=0)
    return {
        label: MeanRank(float(observed[i]), float(low[i]), float(high[i]), float(best[i]))
        for i, label in enumerate(labels)
    }
