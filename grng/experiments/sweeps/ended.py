"""Whether all trials of a sweep have ended, by its summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from grng.experiments.sweeps.endings import ENDINGS

JOURNAL = "trials.log"
SUMMARY = "sweep.json"


def ended_trials(folder: Path) -> Mapping[str, int]:
    """Return how many trials finished, diverged, failed, and run; empty where there is no summary."""
    try:
        counts = json.loads((folder.expanduser() / SUMMARY).read_text(encoding="utf-8"))["counts"]
        return {str(status): int(count) for status, count in counts.items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def all_ended(folder: Path, total: int) -> bool:
    """Return whether the summary in a sweep's directory says that its first `total` trials have ended, and no more run.

    Args:
        folder: The sweep's directory.
        total: Trials in all.
    """
    if not (folder / JOURNAL).is_file():  # somebody threw the trials away
        return False
    counts = ended_trials(folder)
    ended = sum(counts.get(status, 0) for status in ENDINGS)
    return ended >= total and not counts.get("running")
