"""Sweeps of thousands of trials: what each costs beside its runs, and what reports and the same line again take.

Runs that do nothing are handed to `grng.sweep`, which draws values, keeps its journal, shows its progress and writes
its summary as ever: CPU of this process a trial, from ten trials to ten thousand. What grows with their number shows in
the last column against the first; of `tpe`, which looks at all trials before each, it must.

For the commands every such run leaves its directory, with the files of a run of AdamW that is done once. They are
processes of their own, the imports included, as in benchmarks/many_runs.py.

    python benchmarks/many_trials.py
    python benchmarks/many_trials.py --counts 10 100 1000 --markdown docs/results/many-runs.md
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
from contextlib import redirect_stderr
from datetime import UTC, datetime
from pathlib import Path

from many_runs import EPOCHS, WORKLOAD, Real, measured, real_run
from sections import machine_line, table, write_section

from grng.experiments.pool.executor import EventHandler, InProcessExecutor, Runner
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.plan import PreparedSweep, prepare
from grng.experiments.sweeps.sweep import sweep
from grng.runs.config import RunConfig
from grng.runs.identity import described
from grng.runs.loading import dump_yaml
from grng.runs.result import Final, RunResult
from grng.training.events import RunEnded
from grng_cli.live.sweep_progress import SweepProgress
from grng_cli.output import Output

OPTIMIZER = "adamw"
NAME = "trials"


def final(config: RunConfig) -> Final:
    """Return scores that depend on the learning rate, and on luck."""
    values = config.optimizer.hyperparameters
    noise = random.Random(repr(sorted(values.items()))).random()
    accuracy = 0.9 / (1 + abs(values["lr"] - 0.003) * 100) + 0.05 * noise
    return Final(train_loss=0.2, val_loss=1 - accuracy, val_accuracy=accuracy, test_loss=0.3, test_accuracy=accuracy)


def nothing(config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool) -> RunResult:
    """Return a result at once."""
    now = datetime.now(UTC)
    result = RunResult(status="finished", **described(config), final=final(config), created=now, finished=now)
    on_event(RunEnded(result))
    return result


class Leaving:
    """Returns a result at once, and leaves the directory of a run."""

    def __init__(self, real: Real) -> None:
        self._real = real

    def __call__(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
    ) -> RunResult:
        """Be the runner."""
        result = self._real.result.model_copy(update={**described(config), "final": final(config)})
        directory.mkdir(parents=True)
        (directory / "config.yaml").write_text(dump_yaml(config))
        (directory / "metrics.jsonl").write_bytes(self._real.metrics)
        (directory / "result.json").write_text(result.to_json())
        on_event(RunEnded(result))
        return result


def prepared(count: int, root: Path, sampler: str) -> PreparedSweep:
    """Return a sweep of `count` trials; without workers, since nothing is trained."""
    values = {**WORKLOAD, "optimizer": OPTIMIZER, "trials": count, "sampler": sampler, "training": {"epochs": EPOCHS}}
    return prepare(SweepConfig.model_validate({**values, "output": str(root), "workers": 0}))


def milliseconds(ready: PreparedSweep, runner: Runner) -> float:
    """Return the CPU of this process that each trial takes, from the first to the summary."""
    with redirect_stderr(io.StringIO()):
        progress = SweepProgress(Output(), ready)
        used = time.process_time()
        with progress:
            done = sweep(ready, on_trial=progress.ended, on_event=progress, executor=InProcessExecutor(runner=runner))
        used = time.process_time() - used
    assert len(done.trials) == ready.total
    return used / ready.total * 1000


def commands(count: int, root: Path) -> dict[str, list[str]]:
    """Return what is measured, by name."""
    grng = [sys.executable, "-m", "grng_cli"]
    again = [*grng, "sweep", "--optimizer", OPTIMIZER, "--trials", str(count), "--epochs", str(EPOCHS)]
    again += ["--model", WORKLOAD["model"], "--dataset", WORKLOAD["dataset"], "--workers", "1"]
    return {
        "the `grng sweep` line again": [*again, "--output", str(root), "--quiet"],
        "`grng report DIR --format html`": [*grng, "report", str(root), "--format", "html", "--quiet"],
    }


def costs(counts: list[int], tpe: list[int], folder: Path) -> list[str]:
    """Return the table of what a trial costs."""
    rows = []
    for sampler in ("qmc", "tpe"):  # what is loaded on the way is no cost of a trial
        milliseconds(prepared(15, folder / f"{sampler}-first", sampler), nothing)
    for sampler, of_sampler in (("qmc", counts), ("tpe", tpe)):
        found = []
        for count in of_sampler:
            found.append(milliseconds(prepared(count, folder / f"{sampler}-{count}", sampler), nothing))
            print(f"{sampler}\t{count}\t{found[-1]:.2f} ms of CPU a trial", flush=True)
        rows.append([f"`{sampler}`", *(f"{one:.2f}" for one in found), *["–"] * (len(counts) - len(found))])
    return table(["ms of CPU a trial", *(f"{count:,} trials" for count in counts)], rows)


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--tpe", type=int, nargs="*", default=[10, 100, 1000], help="counts of the sampler tpe")
    parser.add_argument("--folder", type=Path, help="where the trials are made; default: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the trials in --folder, and take those there")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    most = max(arguments.counts)
    with tempfile.TemporaryDirectory(prefix="many-trials-", dir=arguments.folder) as scratch:
        lines = costs(arguments.counts, arguments.tpe, Path(scratch))
        root = (arguments.folder if arguments.keep else Path(scratch)) / f"{NAME}-{most}"
        if not root.exists():
            milliseconds(prepared(most, root, "qmc"), Leaving(real_run(OPTIMIZER, Path(scratch))))
            os.sync()
        rows = []
        for name, command in commands(most, root).items():
            seconds, cpu, memory = measured(command)
            print(f"{name}\t{seconds:.1f} s\t{cpu:.1f} s of CPU\t{memory:.0f} MiB", flush=True)
            rows.append([name, f"{seconds:.1f}", f"{cpu:.1f}", f"{memory:.0f}"])
    lines += ["", *table(["", f"{most:,} trials, s", "CPU, s", "MiB"], rows), "", machine_line()]
    print("\n".join(lines))
    if arguments.markdown:
        write_section(arguments.markdown, "Sweeps", "benchmarks/many_trials.py", lines)


if __name__ == "__main__":
    main()
