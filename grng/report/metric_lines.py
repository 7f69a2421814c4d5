"""The lines of a run's `metrics.jsonl`; torn and foreign ones are skipped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from grng.report.reading import METRICS


def metric_lines(
    directory: Path, wanted: Callable[[int, int, bytes], bool] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the step and the values of each line, in order; nothing where there is no readable file.

    Args:
        directory: Of the run.
        wanted: Given a line's place, the number of lines and its text: whether it is to be parsed; default: all are.
    """
    try:
        lines = (directory / METRICS).read_bytes().splitlines()
    except OSError:
        return
    for place, text in enumerate(lines):
        if wanted is not None and not wanted(place, len(lines), text):
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            continue
        step = values.get("step") if isinstance(values, dict) else None
        if isinstance(step, int) and not isinstance(step, bool):
            yield step, values
