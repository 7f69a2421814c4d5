"""What a run will take, from its first steps done in memory: for `--dry-run`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from grng.errors import GrngError
from grng.experiments.preflight import ABSENT, undownloading
from grng.runs.config import RunConfig

MEASURED_STEPS = 12
"""So many that the rare steps which refresh the curvature count with about their share."""

_LOGS_BYTES = 60_000
_BYTES_PER_STEP = 150
_STARTING_S = 1.0


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
    from grng.training.memory import optimizer_state_bytes
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
        weights = sum(value.nbytes for held in session.weights().values() for value in held.values())
        # last.pt and previous.pt with the optimizer's state, best.pt without
        checkpoints = 3 * weights + 2 * (optimizer_state_bytes(session.torch_optimizer) or 0)
        coverage = None if session.coverage is None else session.coverage.summary()
        every = config.training.eval_every or session.order.steps_per_epoch
        evaluations = steps / every + steps / session.order.steps_per_epoch
    seconds = _STARTING_S + steps * step_s + evaluations * evaluation_s + test_s
    return Estimate(steps, seconds, checkpoints + _LOGS_BYTES + _BYTES_PER_STEP * steps, coverage)
