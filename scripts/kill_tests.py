"""`kill -9` at random moments: how often was a step lost or doubled, or anything else than in a run left alone?

    python -m scripts.kill_tests --kills 56 --seed 0

Each of the seven optimizers trains in a process of its own that is killed at random moments and begun again, and is
then compared with a run that nobody disturbed: every line of metrics.jsonl and every tensor of the checkpoints.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

from grng.runs.config import RunConfig
from tests.training.helpers import SEVEN, checkpoint, difference, metrics, untimed
from tests.training.test_processes import begin, config_of, kill, run_to_the_end, wait_for_step

_STEPS = 24


def main() -> None:
    """Kill, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=56, help="in all, shared out over the optimizers")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.test_processes"])
    draw = random.Random(given.seed)
    totals = [0, 0, 0, 0]
    print("| optimizer | kills | while writing | lost or doubled steps | other differences |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for index, optimizer in enumerate(SEVEN):
            kills = given.kills // len(SEVEN) + (index < given.kills % len(SEVEN))
            counts = _try(context, config_of(optimizer), Path(place, optimizer), kills, draw)
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
            print(f"| {optimizer} | {' | '.join(map(str, counts))} |", flush=True)
    print(f"| all | {' | '.join(map(str, totals))} |")
    raise SystemExit(1 if totals[2] or totals[3] else 0)


def _try(context: ForkServerContext, config: RunConfig, place: Path, kills: int, draw: random.Random) -> list[int]:
    """Return how many kills struck, struck a write, how many steps were lost or doubled, and other differences."""
    straight, directory = place / "straight", place / "run"
    run_to_the_end(context, config, straight)
    struck = writing = 0
    while struck < kills:
        done = struck * (_STEPS - 4) // kills
        process = begin(context, config, directory)
        wait_for_step(process, directory, done + 1)
        time.sleep(draw.uniform(0, 0.06))
        if kill(process):
            struck += 1
            writing += any(directory.rglob(".grng-*"))
        else:  # it was too fast: from the start again
            directory = place / f"run{struck}"
    run_to_the_end(context, config, directory)
    steps = [line["step"] for line in metrics(directory) if line["kind"] == "step"]
    wrong = len(set(range(1, _STEPS + 1)) - set(steps)) + len(steps) - len(set(steps))
    names = ("last", "previous", "best")
    differences = [difference(checkpoint(directory, name), checkpoint(straight, name)) for name in names]
    others = sum(found is not None for found in differences) + (untimed(directory) != untimed(straight))
    return [struck, writing, wrong, others]


if __name__ == "__main__":
    main()
