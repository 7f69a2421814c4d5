"""One run directory -> one record. Whatever state a directory is in, it is reported and never a crash."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from grng.errors import RunDirectoryError
from grng.report.records import Run, RunStatus
from grng.runs import chain
from grng.runs.index import RunIndex
from grng.runs.result import RunResult

RESULT, METRICS, CONFIG, CLAIM = "result.json", "metrics.jsonl", "config.yaml", "claim.lock"
EXPERIMENT, WORKLOADS = "experiment.yaml", "workloads.yaml"
SWEEP = "sweep.yaml"


def is_run_directory(directory: Path) -> bool:
    """Return whether `directory` holds a run, finished or not."""
    if (directory / RESULT).is_file() or (directory / METRICS).is_file():
        return True
    # Others have a config.yaml too; ours is the one with an optimizer and a training section.
    return {"optimizer", "training"} <= read_mapping(directory / CONFIG).keys()


def read_run(directory: Path, root: Path | None = None, index: RunIndex | None = None) -> Run:
    """Read the run in `directory`.

    Args:
        directory: A run directory.
        root: The experiment directory that it belongs to.
        index: Of that experiment directory: what has not changed since is taken from it.
    """
    found, problem = _read_result(directory, index)
    if found is not None:
        result, seen = found
        status: RunStatus = result.status
        if status == "interrupted" and is_claimed(directory):
            status = "running"
        return Run(directory, result.label, result.seed, status, result, None, seen, root)
    label, seed = _identity_without_result(directory)
    status = "running" if is_claimed(directory) else "corrupt" if problem else "interrupted"
    return Run(directory, label, seed, status, None, problem, {}, root)


def _read_result(
    directory: Path, index: RunIndex | None
) -> tuple[tuple[RunResult, Mapping[int, str]] | None, str | None]:
    """Return the result with the hashes of its batches, where there is one, and why it cannot be read."""
    path = directory / RESULT
    try:
        if index is not None:
            return index.read(directory), None
        return ((RunResult.load(path), read_chain(directory)) if path.is_file() else None), None
    except RunDirectoryError as error:
        return None, str(error)


def _identity_without_result(directory: Path) -> tuple[str, int | None]:
    """Return label and seed from `config.yaml`, else from the directory's name `<label>/seed<k>`."""
    config = read_mapping(directory / CONFIG)
    optimizer = config.get("optimizer")
    name = optimizer.get("name") if isinstance(optimizer, dict) else optimizer
    label = config.get("label") or name
    seed = config.get("seed")
    match = re.fullmatch(r"seed(\d{1,19})", directory.name)
    if not isinstance(label, str):
        label = directory.parent.name if match else directory.name
    if not isinstance(seed, int) or isinstance(seed, bool):
        seed = int(match[1]) if match else None
    return label, seed


def read_chain(directory: Path) -> dict[int, str]:
    """Return `batches_sha256` by step from the epoch lines of a run's `metrics.jsonl`."""
    return chain.read_chain(directory / METRICS)


def read_mapping(path: Path) -> dict[Any, Any]:
    """Return the mapping in a YAML file, empty when there is none or it cannot be read."""
    try:
        # The C loader is ten times as fast, but not every build of PyYAML has it.
        value = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_claimed(directory: Path) -> bool:
    """Return whether a process holds the run's claim (`grng.runs.claim`) now; nothing is written."""
    path = directory / CLAIM
    if sys.platform == "win32" or not path.is_file() or _holder_is_gone(path):
        return False
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _holder_is_gone(path: Path) -> bool:
    # Asked first, because asking the lock itself takes it for an instant, in which a run that begins would be refused.
    try:
        holder = json.loads(path.read_bytes())
        return holder["host"] == socket.gethostname() and not psutil.pid_exists(holder["pid"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return True
