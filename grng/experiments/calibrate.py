"""A budget in seconds becomes a number of steps, measured once per row and written down.

With a number of steps in its config a run's schedule, resuming and pairing are exact, and the same line again finds the
same runs; a clock within the loop would give all of that up.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError
from grng.experiments.plan import with_steps
from grng.experiments.pool.executor import EventHandler, Executor, InProcessExecutor
from grng.experiments.pool.local import LocalExecutor
from grng.experiments.pool.slots import Slot
from grng.experiments.record import Calibration, read_record
from grng.runs.config import RunConfig

if TYPE_CHECKING:
    from grng.runs.result import RunResult

Measured = Callable[[str, Calibration], None]
"""Receives a row's label and what was measured."""


def calibrate(
    configs: Mapping[str, RunConfig],
    *,
    seconds: float,
    directory: Path,
    slots: Sequence[Slot],
    known: Mapping[str, Calibration] | None = None,
    on_measured: Measured | None = None,
) -> dict[str, Calibration]:
    """Return the calibration of each row: what `experiment.yaml` has, the rest measured as the runs will run.

    Args:
        configs: The rows by label.
        seconds: The budget on the training clock.
        directory: The experiment's directory.
        slots: Of the workers; as many rows are measured at once, since runs side by side slow each other down.
        known: What was measured before; default: the calibrations in `experiment.yaml`.
        on_measured: Called for each row that is measured.

    Raises:
        GrngError: A row could not be measured.
    """
    if known is None:
        record = read_record(directory)
        known = record.calibrations if record else {}
    calibrations = {label: known[label] for label in configs if label in known and known[label].seconds == seconds}
    missing = {label: config for label, config in configs.items() if label not in calibrations}
    if not missing:
        return calibrations
    from grng.training.calibrate import DEFAULT_STEPS

    # Nothing is written into the experiment: what a measurement that crashes leaves goes where nobody looks.
    with tempfile.TemporaryDirectory(prefix="grng-calibration-") as aside, _executor(slots) as pool:
        futures = {
            label: pool.submit(with_steps(config, DEFAULT_STEPS), Path(aside, str(index)))
            for index, (label, config) in enumerate(missing.items())
        }
        for label, future in futures.items():
            calibrations[label] = _calibration(label, future.result(), seconds)
            if on_measured:
                on_measured(label, calibrations[label])
    return {label: calibrations[label] for label in configs}


def _calibration(label: str, result: RunResult, seconds: float) -> Calibration:
    step_ms = result.time.step_ms
    if result.status != "finished" or not step_ms:
        raise GrngError(
            f"the step time of {label} could not be measured: {result.message}", hint="Give --steps instead."
        )
    return Calibration(seconds=seconds, step_ms=step_ms, steps=max(1, round(seconds * 1000 / step_ms)))


def measure(config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool) -> RunResult:
    """Measure the time of a step: the runner of calibrations; nothing is written."""
    from datetime import UTC, datetime

    from grng.runs.identity import described
    from grng.runs.result import RunResult, Time
    from grng.training.calibrate import measure_step_seconds

    now = datetime.now(UTC)
    return RunResult(
        status="finished",
        **described(config),
        time=Time(step_ms=1000 * measure_step_seconds(config), shared=time_shared),
        created=now,
        finished=datetime.now(UTC),
    )


def _executor(slots: Sequence[Slot]) -> Executor:
    return LocalExecutor(slots, runner=measure) if slots else InProcessExecutor(runner=measure)
