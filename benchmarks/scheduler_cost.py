"""What an experiment costs beside its runs: milliseconds a run, from ten runs to ten thousand, of runs that do nothing.

Three executors do them: one within this process, which leaves the bookkeeping alone (planning, the look for what is
there, events, the progress display); the pool's threads and queues without its processes, where all runs wait at once;
and the pool itself, each run in a process of its own that returns a result at once. CPU is that of the process that
schedules; the time that passes holds the workers' beginning and end, and whatever else the machine does. What grows
with the number of runs shows in the last column against the first.

    python benchmarks/scheduler_cost.py
    python benchmarks/scheduler_cost.py --counts 10 100 1000 --markdown docs/results/many-runs.md
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sections import machine_line, table, write_section

from grng.experiments.compare import compare, prepare
from grng.experiments.compare_config import CompareConfig
from grng.experiments.pool import worker
from grng.experiments.pool.executor import EventHandler, Executor, InProcessExecutor
from grng.experiments.pool.local import LocalExecutor
from grng.experiments.pool.slots import Slot
from grng.runs.config import RunConfig
from grng.runs.identity import described
from grng.runs.result import RunResult
from grng.training.events import RunEnded
from grng_cli.live.compare_progress import CompareProgress
from grng_cli.output import Output

WORKERS = 2


def nothing(config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool) -> RunResult:
    """Return a result at once: what a run that does nothing does."""
    now = datetime.now(UTC)
    result = RunResult(status="finished", **described(config), created=now, finished=now)
    on_event(RunEnded(result))
    return result


def in_process() -> Executor:
    """Return an executor that runs nothing within this process."""
    return InProcessExecutor(runner=nothing)


def pool() -> Executor:
    """Return a pool of worker processes that run nothing, started."""
    started = LocalExecutor([Slot((), 1)] * WORKERS, runner=nothing)
    values = {"model": "test_vit", "dataset": {"name": "digits", "img_size": 8}}
    config = RunConfig.model_validate(values)
    started.submit(config, Path("nowhere")).result()  # when the server has loaded torch
    return started


class WithoutProcesses(LocalExecutor):
    """The pool, but that a run is done in the thread that would start its process."""

    def _attempt(self, run: Any, slot: Slot, *, rerun: bool, seconds: float | None) -> worker.Done:
        done = self._runner(run.config, run.directory, on_event=run.on_event, time_shared=False, rerun=rerun)
        return worker.Done(done)


def threads() -> Executor:
    """Return the pool without its processes."""
    return WithoutProcesses([Slot((), 1)] * WORKERS, runner=nothing)


def milliseconds(count: int, make: Callable[[], Executor]) -> tuple[float, float]:
    """Return what each of `count` runs costs from the plan to the last result: CPU of this process, and time."""
    with tempfile.TemporaryDirectory(prefix="scheduler-") as folder, redirect_stderr(io.StringIO()):
        executor = make()
        values = {"optimizers": "adamw,sgd", "seeds": count // 2, "model": "test_vit", "dataset": "digits"}
        prepared = prepare(CompareConfig.model_validate({**values, "output": f"{folder}/x", "workers": 0}))
        progress = CompareProgress(Output())
        begun, used = time.perf_counter(), time.process_time()
        with progress:
            done = compare(prepared, on_event=progress, on_plan=progress.planned, executor=executor)
        taken, used = time.perf_counter() - begun, time.process_time() - used
        assert len(done.results) == count
    return used / count * 1000, taken / count * 1000


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[10, 100, 1000, 10_000], help="counts of the pool")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows = []
    ways = {"bookkeeping alone": in_process, "pool without processes": threads, f"pool of {WORKERS} processes": pool}
    for name, make in ways.items():
        found: list[tuple[float, float]] = []
        for count in arguments.counts if make is not pool else arguments.processes:
            found.append(milliseconds(count, make))
            print(f"{name}\t{count}\t{found[-1][0]:.2f} ms of CPU a run, {found[-1][1]:.2f} ms", flush=True)
        absent = ["–"] * (len(arguments.counts) - len(found))
        rows.append([f"{name}, CPU", *(f"{used:.2f}" for used, _ in found), *absent])
        rows.append([f"{name}, time", *(f"{taken:.1f}" for _, taken in found), *absent])
    lines = [*table(["ms a run", *(f"{count:,} runs" for count in arguments.counts)], rows), "", machine_line()]
    print("\n".join(lines))
    if arguments.markdown:
        write_section(arguments.markdown, "The scheduler", "benchmarks/scheduler_cost.py", lines)


if __name__ == "__main__":
    main()
