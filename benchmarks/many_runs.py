"""Thousands of runs of one experiment: what it takes to report them, and to give the same command again.

Two runs are done, one of AdamW and one of K-FAC, whose result says of every layer how it is preconditioned. Their
files are then written for all runs of a comparison of ten optimizers, each with its own config, seed, scores and run
id, by what writes those of real runs; checkpoints and event files are a few bytes. What is measured are commands in
processes of their own, the imports included: seconds from start to end, seconds of CPU, which do not depend on what
else the machine does, and the largest resident memory.

    python benchmarks/many_runs.py
    python benchmarks/many_runs.py --counts 1000 10000 --markdown docs/results/many-runs.md
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sections import machine_line, table, write_section

from grng.experiments.compare_config import CompareConfig
from grng.experiments.plan import PlannedRun, plan
from grng.experiments.record import Record
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.identity import described
from grng.runs.index_file import FILE
from grng.runs.loading import dump_yaml
from grng.runs.result import Final, Pairing, RunResult
from grng.training.trainer import train

LABELS = ("adamw", "sgd", "gr-sgd", "gr-adamw", "sam", "kfac", "ring", "reng", "sophia-g", "r-kalman")
WITHOUT_FACTORS = LABELS[:5]
WORKLOAD = {"model": "test_vit", "dataset": "mnist5k"}
EPOCHS = 3


@dataclass(frozen=True)
class Real:
    """What a run that was done left behind."""

    result: RunResult
    metrics: bytes


def real_run(name: str, folder: Path) -> Real:
    """Train once with the optimizer `name`."""
    values = {**WORKLOAD, "optimizer": name, "training": {"epochs": EPOCHS}}
    config = resolve(RunConfig.model_validate(values))
    result = train(config, folder / name)
    return Real(result, (folder / name / "metrics.jsonl").read_bytes())


def planned(count: int, root: Path) -> list[PlannedRun]:
    """Return the runs of a comparison of ten optimizers."""
    given = {**WORKLOAD, "optimizers": ",".join(LABELS), "seeds": count // len(LABELS), "output": str(root)}
    return plan(CompareConfig.model_validate({**given, "training": {"epochs": EPOCHS}}))


def write_runs(runs: Sequence[PlannedRun], root: Path, reals: tuple[Real, Real]) -> None:
    """Write a finished run directory for each of `runs`, and the experiment's record."""
    seeds = sorted({run.seed for run in runs})
    Record(optimizers=list(LABELS), seeds=seeds, reference=LABELS[0], workers=2).save(root)
    configs: dict[str, str] = {}
    for number, run in enumerate(runs):
        real = reals[run.label not in WITHOUT_FACTORS]
        if run.label not in configs:
            configs[run.label] = dump_yaml(replace(run.config, seed=0))
        run.directory.mkdir(parents=True)
        (run.directory / "config.yaml").write_text(configs[run.label].replace("\nseed: 0\n", f"\nseed: {run.seed}\n"))
        (run.directory / "metrics.jsonl").write_bytes(real.metrics)
        (run.directory / "claim.lock").write_text('{"pid": 1, "host": "nowhere"}\n')
        (run.directory / "events.out.tfevents.0000000001.nowhere.1.grng").write_bytes(b"")
        (run.directory / "checkpoint").mkdir()
        (run.directory / "checkpoint" / "last.pt").write_bytes(b"none")
        result = varied(real.result, run, number)
        (run.directory / "result.json").write_text(result.to_json())  # what `save` does, without waiting for the disk


def varied(result: RunResult, run: PlannedRun, number: int) -> RunResult:
    """Return a result of `run` that looks like `result`."""
    noise = random.Random(number)
    accuracy = 0.9 + 0.05 * noise.random()
    final = Final(train_loss=0.2, val_loss=0.3, val_accuracy=accuracy, test_loss=0.3, test_accuracy=accuracy)
    pairing = Pairing(init_sha256=f"{run.seed:064x}", batches_sha256=result.pairing.batches_sha256)
    return result.model_copy(
        update={
            **described(run.config),
            "final": final,
            "pairing": pairing,
            "created": result.created + timedelta(seconds=number),
        }
    )


def measured(command: Sequence[str]) -> tuple[float, float, float]:
    """Return the seconds that `command` takes, those of CPU, and the MiB that it takes at most.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    # A process begins with the memory of the one that it is forked from as its largest so far: a small one in between.
    made = subprocess.run([sys.executable, "-c", _MEASURE, *command], capture_output=True, text=True, check=True)
    seconds, cpu, memory = json.loads(made.stdout)
    return seconds, cpu, memory


_MEASURE = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def commands(count: int, root: Path) -> dict[str, list[str]]:
    """Return what is measured, by name, in this order."""
    grng = [sys.executable, "-m", "grng_cli"]
    again = [*grng, "compare", "--optimizers", ",".join(LABELS), "--seeds", str(count // len(LABELS))]
    again += ["--model", WORKLOAD["model"], "--dataset", WORKLOAD["dataset"], "--epochs", str(EPOCHS)]
    again += ["--output", str(root), "--workers", "1", "--quiet"]
    report = [*grng, "report", str(root), "--quiet"]
    (root / FILE).unlink(missing_ok=True)
    return {
        "`grng report DIR`, no index yet": report,
        "`grng report DIR`": report,
        "the `grng compare` line again": again,
    }


def main() -> None:
    """Make the runs, measure the commands, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--folder", type=Path, help="where the runs are made; default: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the runs in --folder, and take those that are there")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="many-runs-", dir=arguments.folder) as scratch:
        reals: tuple[Real, Real] | None = None
        for count in arguments.counts:
            root = (arguments.folder if arguments.keep else Path(scratch)) / f"runs-{count}"
            if not root.exists():
                reals = reals or (real_run("adamw", Path(scratch)), real_run("kfac", Path(scratch)))
                write_runs(planned(count, root), root, reals)
                os.sync()
            for name, command in commands(count, root).items():
                seconds, cpu, memory = measured(command)
                print(f"{count}\t{name}\t{seconds:.1f} s\t{cpu:.1f} s of CPU\t{memory:.0f} MiB", flush=True)
                rows.setdefault(name, []).extend([f"{seconds:.1f}", f"{cpu:.1f}", f"{memory:.0f}"])
    head = ["", *(cell for count in arguments.counts for cell in (f"{count:,} runs, s", "CPU, s", "MiB"))]
    lines = [*table(head, [[name, *cells] for name, cells in rows.items()]), "", machine_line()]
    print("\n".join(lines))
    if arguments.markdown:
        write_section(arguments.markdown, "Reports and resumption", "benchmarks/many_runs.py", lines)


if __name__ == "__main__":
    main()
