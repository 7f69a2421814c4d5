"""Random numbers that are a function of seed, sample and place alone, many at once.

SplitMix64 (Steele, Lea & Flood 2014) read as a counter-based generator: the number at counter k of a stream is the
mixing function at `stream + k γ`, so that any of them can be had without the ones before it. Whole batches and single
pictures get the same numbers, whatever process asks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_COLUMNS = 256


def uniforms(stream: int, samples: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return numbers uniform in [0, 1).

    Args:
        stream: 64 bits that name the stream.
        samples: Indices [n] of the samples.
        count: Numbers for each, at most 256.

    Returns:
        [n, count]; row i depends on `stream` and `samples[i]` alone, and its first columns not on `count`.
    """
    if count > _COLUMNS:
        raise ValueError(f"at most {_COLUMNS} numbers a sample, not {count}")
    columns = np.arange(1, count + 1, dtype=np.uint64)
    counters = samples.astype(np.uint64)[:, None] * np.uint64(_COLUMNS) + columns
    mixed = np.full(1, stream % 2**64, dtype=np.uint64) + counters * _GAMMA
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    mixed = mixed ^ (mixed >> np.uint64(31))
    numbers: NDArray[np.float64] = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers
