"""What a run leaves behind: its `RunResult`, from a configuration and as much of a session as there was."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import torch

from grng._version import __version__
from grng.data import DataBundle, Split
from grng.runs.config import RunConfig
from grng.runs.identity import described
from grng.runs.result import (
    Best,
    Data,
    Diagnostics,
    Environment,
    Final,
    Memory,
    Pairing,
    Reason,
    RunResult,
    Status,
    Target,
    Time,
)
from grng.training.device import device_name
from grng.training.evaluate import Scores
from grng.training.memory import optimizer_state_bytes
from grng.training.own_code import OWN_CODE
from grng.training.session import Session

_SKIPPED_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a result needs besides configuration and session: when the run began, its wall time, and how it was run."""

    created: datetime
    total_s: float
    resumed_from_step: int | None
    time_shared: bool
    resumed_from: Literal["last", "previous"] | None = None


def build_result(
    config: RunConfig,
    session: Session | None,
    circumstances: Circumstances,
    *,
    status: Status,
    reason: Reason | None = None,
    message: str | None = None,
    test: Scores | None = None,
) -> RunResult:
    """Put a result together.

    Args:
        config: The resolved config.
        session: The run in memory; None if it failed before it had one.
        circumstances: Of the run.
        status: How it ended.
        reason: Why it ended so.
        message: The same for people, one line.
        test: Scores on the test split, of a finished run.
    """
    parts: dict[str, Any] = {} if session is None else _parts(session, circumstances, test)
    return RunResult(
        status=status,
        reason=reason,
        message=message,
        **described(config),
        resumed_from_step=circumstances.resumed_from_step,
        resumed_from=circumstances.resumed_from,
        created=circumstances.created,
        finished=max(datetime.now(UTC), circumstances.created),  # the clock may have been set back
        **parts,
    )


def _parts(session: Session, circumstances: Circumstances, test: Scores | None) -> dict[str, Any]:
    progress = session.progress
    step, time_s = progress.reached or (None, None)
    return {
        "steps": progress.step,
        "planned_steps": session.planned_steps,
        "final": Final(
            train_loss=progress.final_loss(),
            val_loss=progress.scores.loss if progress.scores else None,
            val_accuracy=progress.scores.accuracy if progress.scores else None,
            test_loss=test.loss if test else None,
            test_accuracy=test.accuracy if test else None,
        ),
        "best": Best(epoch=progress.best_epoch, val_accuracy=progress.best_accuracy),
        "target": Target(accuracy=progress.target, step=step, time_s=time_s),
        "time": _time(session, circumstances),
        "memory": Memory(
            growth_mb=session.memory.growth_mb,
            optimizer_state_bytes=optimizer_state_bytes(session.torch_optimizer),
            peak_mb=session.memory.peak_mb,
        ),
        "data": _data(session),
        "parameters": session.parameters(),
        "world_size": session.world.size,
        "diagnostics": _diagnostics(session),
        "coverage": None if session.coverage is None else session.coverage.as_dicts(),
        "weights": None if session.prepared.weights is None else session.prepared.weights.as_dict(),
        "pairing": Pairing(init_sha256=session.init_sha256, batches_sha256=session.chain.hexdigest),
        "environment": environment(session.device),
    }


def _data(session: Session) -> Data:
    data, data_dir = session.data, session.config.dataset.data_dir
    counts = {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
    if isinstance(data, DataBundle):
        return Data(**counts, classes=[str(label) for label in range(data.num_classes)], in_memory=True)
    return Data(
        **counts,
        classes=list(data.classes),
        data_dir=None if data_dir is None else str(data_dir),
        in_memory=isinstance(data.train, Split),
        skipped=len(data.skipped),
        skipped_pictures=[f"{name}: {why}" for name, why in data.skipped[:_SKIPPED_SHOWN]],
        sha256=data.fingerprint,
    )


def _time(session: Session, circumstances: Circumstances) -> Time:
    clock = session.clock
    return Time(
        total_s=circumstances.total_s,
        train_s=clock.elapsed_s,
        step_ms_median=clock.step_ms_median,
        shared=circumstances.time_shared,
        **clock.timing(),
    )


def _diagnostics(session: Session) -> Diagnostics:
    found = session.diagnosed
    return Diagnostics(step=found.step, samples=found.samples, seconds=found.seconds, **found.values)


def environment(device: torch.device) -> Environment:
    """Return the versions and the machine."""
    return Environment(
        grng=__version__,
        code=OWN_CODE,
        torch=torch.__version__,
        timm=_version("timm"),
        python=platform.python_version(),
        platform=platform.platform(),
        device=str(device),
        device_name=device_name(device),
        threads=torch.get_num_threads(),
        cpu_count=os.cpu_count(),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
