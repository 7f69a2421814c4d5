"""`kill -9` of `grng compare` and `grng sweep` at random moments: was anything lost, doubled, touched, or different?

    python -m scripts.kill_experiments --kills 20 --seed 0 [--of sweep] [--victim worker]

Each is killed at moments from its start to its end and begun again by the same line, until it is done, in one
directory after the other. It is then compared with the same line that nobody disturbed: every line of metrics.jsonl,
every tensor of the last checkpoints, the final table; the files of a run that had finished must have kept their
content and their time. Workers whose command was killed must be gone within five seconds.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from tests.cli.killing import COMPARE, SWEEP, TUNE, Killing

_LINES = {"compare": COMPARE, "sweep": SWEEP, "tune": TUNE}


def main() -> None:
    """Kill, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", choices=_LINES, action="append", help="repeatable; default: compare and sweep")
    parser.add_argument("--victim", choices=("command", "worker"), default="command")
    given = parser.parse_args()
    print("| line | kills | rounds | files touched | lost or doubled steps | other differences | workers gone |")
    print("|---|---|---|---|---|---|---|")
    good = True
    with tempfile.TemporaryDirectory() as place:
        for name in given.of or ("compare", "sweep"):
            killing = Killing(_LINES[name], Path(place, name), random.Random(f"{given.seed} {name}"))
            count = (killing.parents if given.victim == "command" else killing.workers)(given.kills)
            counts = (count.kills, count.rounds, len(count.touched), count.wrong_steps, len(count.others))
            print(f"| {name} | {' | '.join(map(str, counts))} | {count.longest:.1f} s |", flush=True)
            for what in (*count.touched, *count.others):
                print(f"    {what}")
            good = good and count.good
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
