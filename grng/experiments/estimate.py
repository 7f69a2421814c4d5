"""What a run will take, from its first steps done in memory: for `--dry-run`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grng.errors import GrngError
from grng.experiments.preflight import ABSENT, undownloading
from grng.runs.config import RunConfig, replace

if TYPE_CHECKING:
    from grng.training.session import Session

MEASURED_STEPS = 12
"""So many that the rare steps which refresh the curvature count with about their share."""

_LOGS_BYTES = 60_000
_BYTES_PER_STEP = 150
_STARTING_S = 1.0
_CHEAP_BATCH = 16


@dataclass(frozen=True)
class Estimate:
    """A guess; without the data there is none.

    Args:
        steps: Steps of the run.
        seconds: Of the whole run, evaluations included.
        disk_bytes: Checkpoints and logs.
        coverage: In one line; None for optimizers without.
        absent: Why nothing could be measured, where the data is not there.
    """

    steps: int | None
    seconds: float | None
    disk_bytes: int | None
    coverage: str | None
    absent: str | None = None


def estimate(config: RunConfig) -> Estimate:
    """Return what the run of the resolved `config` will take; nothing is written or downloaded.

    Raises:
        GrngError: If something asked for is not to be had.
    """
    config = undownloading(config)  # pretrained weights cost as much as fresh ones
    try:
        return _measured(config)
    except GrngError as error:
        if error.where != ABSENT:
            raise
        return Estimate(config.training.steps, None, None, None, absent=error.message)


def _measured(config: RunConfig) -> Estimate:
    import time

    from grng.training.building import build_session
    from grng.training.device import execution_settings, resolve_device
    from grng.training.seeding import preserved_rng

    machine = config.machine
    settings = execution_settings(resolve_device(machine.device), threads=machine.threads, compiles=machine.compile)
    with preserved_rng(), settings, closing(build_session(config)) as session:
        steps = session.planned_steps
        for _ in range(min(MEASURED_STEPS, steps)):
            outcome = session.advance()
            if not outcome.finite:
                break
            session.progress.record_step(outcome.loss)
        step_s = session.clock.elapsed_s / max(1, session.progress.step)
        begun = time.monotonic()
        session.evaluate(session.data.val)
        evaluation_s = time.monotonic() - begun
        test_s = evaluation_s * len(session.data.test) / len(session.data.val)
        checkpoints = _checkpoint_bytes(session)
        coverage = None if session.coverage is None else session.coverage.summary()
        every = config.training.eval_every or session.order.steps_per_epoch
        evaluations = steps / every + steps / session.order.steps_per_epoch
    seconds = _STARTING_S + steps * step_s + evaluations * evaluation_s + test_s
    return Estimate(steps, seconds, checkpoints + _LOGS_BYTES + _BYTES_PER_STEP * steps, coverage)


def disk_bytes(config: RunConfig) -> int | None:
    """Return what the run of the resolved `config` will write, from two steps on the CPU; None without the data.

    What an optimizer keeps hardly depends on device, precision and batch, so that these may be the cheapest.

    Raises:
        GrngError: If something asked for is not to be had.
    """
    from grng.training.building import build_session
    from grng.training.device import execution_settings, resolve_device
    from grng.training.seeding import preserved_rng

    training = config.training
    cheap = replace(
        undownloading(config),
        training=replace(training, batch_size=min(training.batch_size, _CHEAP_BATCH), grad_accum=1, precision="fp32"),
        machine=replace(config.machine, device="cpu", compile=False, processes=None, verify_data=False),
    )
    settings = execution_settings(resolve_device("cpu"), threads=None, compiles=False)
    try:
        with preserved_rng(), settings, closing(build_session(cheap)) as session:
            for _ in range(min(2, session.planned_steps)):
                session.advance()
            steps = session.planned_steps * cheap.training.batch_size // training.batch_size
            return _checkpoint_bytes(session) + _LOGS_BYTES + _BYTES_PER_STEP * (training.steps or steps)
    except GrngError as error:
        if error.where != ABSENT:
            raise
        return None


def _checkpoint_bytes(session: Session) -> int:
    """Return the size of last.pt and previous.pt, with the optimizer's state, and best.pt, without."""
    from grng.training.memory import optimizer_state_bytes

    weights = sum(value.nbytes for held in session.weights().values() for value in held.values())
    return int(3 * weights + 2 * (optimizer_state_bytes(session.torch_optimizer) or 0))
