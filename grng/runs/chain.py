"""The hashes of a run's batches, from its `metrics.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path


def read_chain(path: Path) -> dict[int, str]:
    """Return `batches_sha256` by step from the epoch lines of `path`; torn and foreign lines are skipped.

    Args:
        path: A `metrics.jsonl`; one that is not there or cannot be read has no lines.
    """
    chain: dict[int, str] = {}
    try:
        data = path.read_bytes()
    except OSError:
        return chain
    for line in data.splitlines():
        # Most lines are steps without a hash; parsing them all would take most of a big report's time.
        if b"batches_sha256" not in line:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        step, digest = (record.get("step"), record.get("batches_sha256")) if isinstance(record, dict) else (None, None)
        if isinstance(step, int) and isinstance(digest, str):
            chain[step] = digest
    return chain
