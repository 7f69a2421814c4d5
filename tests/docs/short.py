"""`grng`, but runs are a few small steps long: what the documentation's commands call in a test."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

LOOKS_ONLY = {"--help", "-h", "--plan", "--dry-run", "--smoke"}


def shortened(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with settings that win over all others: one seed, few steps, all in this process."""
    given = list(arguments)
    if not given or given[0] not in ("train", "compare", "sweep") or LOOKS_ONLY & set(given):
        return given
    sets = ["training.batch_size=16", "machine.threads=1"]
    if "--seconds" not in given:
        sets.append("training.steps=3")
    if "--diagnostics" in given:
        sets.append("diagnostics.samples=64")
    if given[0] != "train":
        sets.append(f"workers={int('--timeout' in given)}")  # which needs a worker to stop
    if given[0] == "sweep":
        sets.append("trials=2")
    if given[0] == "compare":
        sets.append("seeds=2" if "--claim" in given else "seeds=1")
        if "--tune" in given or "compare/tuned" in given:
            sets.append("tune.trials=2")
    return [*given, *(part for one in sets for part in ("--set", one))]


if __name__ == "__main__":
    from grng_cli.main import run

    if not os.environ.get("IN_FULL"):
        sys.argv[1:] = shortened(sys.argv[1:])
    run()
