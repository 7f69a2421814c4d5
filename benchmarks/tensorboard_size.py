"""TensorBoard with a thousand runs side by side: bytes on the disk, and how long it takes until it answers.

A run of K-FAC is done, which has more scalars than one of AdamW. Its events are written again, by what wrote them, as
the events of runs of each length, and copied into as many run directories as asked for. Then TensorBoard itself is
started on them, and asked over HTTP until it knows all runs, and until a scalar of the last one comes.

    python benchmarks/tensorboard_size.py
    python benchmarks/tensorboard_size.py --runs 1000 --steps 81 1000 --markdown docs/results/many-runs.md
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorboard
from sections import machine_line, table, write_section

from grng.runs.config import RunConfig, resolve
from grng.training.events import Evaluated, RunEnded, RunStarted, StepDone
from grng.training.listeners.tensorboard import TensorBoard
from grng.training.trainer import train

STEPS_AN_EPOCH = 27
PATIENCE_S = 400.0


def real_events(folder: Path) -> list[Any]:
    """Return the events of a short run."""
    values = {"model": "test_vit", "dataset": "mnist5k", "optimizer": "kfac", "training": {"steps": STEPS_AN_EPOCH}}
    events: list[Any] = []
    train(resolve(RunConfig.model_validate(values)), folder, listeners=[events.append])
    return events


def write_events(directory: Path, real: Sequence[Any], steps: int) -> int:
    """Write what a run of `steps` steps writes, and return its bytes."""
    directory.mkdir(parents=True)
    board = TensorBoard(directory)
    started = next(event for event in real if isinstance(event, RunStarted))
    step = [event for event in real if isinstance(event, StepDone) and event.logged][-1]
    evaluated = next(event for event in real if isinstance(event, Evaluated))
    board(replace(started, planned_steps=steps))
    every = started.config.logging.log_every
    for number in range(1, steps + 1):
        if number % every == 0 or number in (1, steps):
            board(replace(step, step=number, coverage_summary=None))
        if number % STEPS_AN_EPOCH == 0:
            board(replace(evaluated, step=number))
    board(next(event for event in real if isinstance(event, RunEnded)))
    board.close()
    return sum(path.stat().st_size for path in directory.iterdir())


def serve(logdir: Path, names: set[str]) -> tuple[float, float]:
    """Return the seconds until TensorBoard knows all runs, and until the last one's scalars come.

    Raises:
        RuntimeError: It did not come so far.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1"]
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}/data"
            while not names <= set(_asked(f"{address}/runs") or ()):
                _wait(process, begun)
            known = time.perf_counter() - begun
            query = urllib.parse.urlencode({"run": max(names), "tag": "train/loss"})
            while not _asked(f"{address}/plugin/scalars/scalars?{query}"):
                _wait(process, begun)
            return known, time.perf_counter() - begun
        finally:
            process.terminate()
            process.wait()


def _asked(address: str) -> Any:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _wait(process: subprocess.Popen[bytes], begun: float) -> None:
    if process.poll() is not None or time.perf_counter() - begun > PATIENCE_S:
        raise RuntimeError("TensorBoard did not come so far")
    time.sleep(0.25)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+", default=[81, 1000, 100_000])
    parser.add_argument("--serve", type=int, nargs="+", default=[81, 1000], help="lengths that TensorBoard is shown")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="tensorboard-") as scratch:
        real = real_events(Path(scratch, "real"))
        for steps in arguments.steps:
            first = Path(scratch, str(steps), "seed0")
            size = write_events(first, real, steps)
            cells = [f"{steps:,}", f"{size / 1e3:,.0f}", f"{size * arguments.runs / 1e6:,.0f}", "–", "–"]
            if steps in arguments.serve:
                for number in range(1, arguments.runs):
                    shutil.copytree(first, first.parent / f"seed{number}")
                known, shown = serve(first.parent, {f"seed{number}" for number in range(arguments.runs)})
                cells[3:] = [f"{known:.1f}", f"{shown:.1f}"]
            shutil.rmtree(first.parent)
            rows.append(cells)
            print("\t".join(cells), flush=True)
    many = f"{arguments.runs:,} runs"
    head = [
        "steps of a run",
        "kB a run",
        f"MB of {many}",
        "s until all runs are there",
        "s until the last one's scalars",
    ]
    lines = [*table(head, rows), "", f"TensorBoard {tensorboard.__version__}; {machine_line()}"]
    print("\n".join(lines))
    if arguments.markdown:
        write_section(arguments.markdown, "TensorBoard", "benchmarks/tensorboard_size.py", lines)


if __name__ == "__main__":
    main()
