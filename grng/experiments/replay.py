"""A run done again from its own directory: same config, same seed, as many threads, in another directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError, RunDirectoryError
from grng.report.reading import CONFIG, EXPERIMENT, SWEEP, WORKLOADS, is_run_directory
from grng.report.replayed import Replayed, compare_runs
from grng.runs.config import RunConfig, resolve
from grng.runs.files import atomic_write_json
from grng.runs.identity import directory_name, run_id, short_id
from grng.runs.rundir import RunDirectory, RunState

if TYPE_CHECKING:
    from grng.runs.result import RunResult
    from grng.training.events import Listener

MARK = "replay.json"
"""What makes a run's directory a replay's: `of` is the original, `outcome` what came of the comparison."""

_ELSEWHERE = "Choose another directory with --output."


def replay_config(original: Path, *, device: str | None = None, threads: int | None = None) -> RunConfig:
    """Return the resolved config that does the run in `original` again.

    Args:
        original: A run's directory.
        device: Where to run; default: where the original ran, if that is there.
        threads: CPU threads; default: as many as the original had, since sums are split among them.

    Raises:
        GrngError: It holds no run, or a config that this version cannot do.
    """
    place = RunDirectory(original)
    _check_original(original)
    config, result = place.config(), place.result()
    machine = config.machine
    recorded = None if result is None else result.environment
    changes: dict[str, object] = {"threads": threads or machine.threads or (recorded and recorded.threads)}
    if device is not None:
        changes["device"] = device
    elif machine.device == "auto" and recorded is not None and recorded.device and _is_there(recorded.device):
        changes["device"] = recorded.device
    values = config.model_dump(mode="python")
    values["machine"] |= changes
    values["output"] = None  # the original's own place
    return resolve(RunConfig.model_validate(values))


def default_output(config: RunConfig) -> Path:
    """Return where a replay goes unless one says otherwise; its name tells label, seed and run id."""
    name = directory_name(config.label or config.optimizer.name)
    return Path("runs") / f"replay-{name}-seed{config.seed}-{short_id(run_id(config))}"


def replay(
    original: Path,
    config: RunConfig,
    output: Path,
    *,
    rerun: bool = False,
    listeners: Sequence[Listener] = (),
    trainer: Callable[..., RunResult] | None = None,
) -> Replayed:
    """Do a run again and compare it with the original, which is only read.

    A replay that was interrupted goes on, one that is finished is only compared, unless `rerun`.

    Args:
        original: The run's directory.
        config: From `replay_config`.
        output: Where the replay goes.
        rerun: Do it again although it is there.
        listeners: As `train` takes them.
        trainer: What trains; default: `grng.training.trainer.train`.

    Raises:
        RunDirectoryError: `output` is the original, lies in it or in an experiment, or holds something else.
        Interrupted: As `train`.
        RunFailed: As `train`.
    """
    check_output(original, config, output)
    from grng.training.trainer import train

    do = trainer or train

    def mark(event: object = None) -> None:
        """Say whose replay it is once there is a directory: the first event comes after it."""
        if (output / CONFIG).is_file() and not (output / MARK).is_file():
            _write_mark(output, original, None)

    try:
        do(config, output, listeners=[mark, *listeners], on_existing="rerun" if rerun else "reuse")
    finally:
        mark()
    outcome = compare_runs(original, output)
    _write_mark(output, original, outcome)
    return outcome


def _write_mark(output: Path, original: Path, outcome: Replayed | None) -> None:
    told = None if outcome is None else outcome.as_dict()
    atomic_write_json(output / MARK, {"schema_version": 1, "of": str(original), "outcome": told})


def check_output(original: Path, config: RunConfig, output: Path) -> None:
    """Raise a RunDirectoryError unless a replay of `original` may go to `output`; nothing is written."""
    here, there = output.resolve(), original.resolve()
    if here == there or there in here.parents:
        problem = (
            "is the run that is to be done again." if here == there else "lies in the run that is to be done again."
        )
        raise RunDirectoryError(problem, where=str(output), hint=_ELSEWHERE)
    experiment = next((place for place in here.parents if (place / EXPERIMENT).is_file()), None)
    if experiment is not None:
        raise RunDirectoryError(
            "lies in an experiment, whose report would count the replay as a run.", where=str(output), hint=_ELSEWHERE
        )
    state = RunDirectory(output).check(config)
    if state not in (RunState.ABSENT, RunState.EMPTY) and not (output / MARK).is_file():
        raise RunDirectoryError("holds a run that is no replay.", where=str(output), hint=_ELSEWHERE)


def _check_original(original: Path) -> None:
    if not original.is_dir():
        problem = "is not a directory." if original.exists() else "does not exist."
        raise GrngError(problem, where=str(original), hint="Give the directory of a run, e.g. runs/ring-1a2b3c4d.")
    if any((original / name).is_file() for name in (EXPERIMENT, WORKLOADS, SWEEP)):
        runs = sorted(path.parent for path in original.glob("*/seed*/config.yaml"))
        example = f", e.g. {runs[0]}" if runs else ""
        raise GrngError(
            "holds many runs.", where=str(original), hint=f"Name the one that is to be done again{example}."
        )
    if not is_run_directory(original):
        raise GrngError("holds no run.", where=str(original), hint="A run's directory has a config.yaml.")


def _is_there(device: str) -> bool:
    from grng.training.device import resolve_device

    try:
        resolve_device(device)
    except GrngError:
        return False
    return True
