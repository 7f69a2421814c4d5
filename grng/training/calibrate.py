"""What a step costs on this machine: a budget in seconds is turned into steps with it."""

from __future__ import annotations

from contextlib import closing

from grng.errors import GrngError
from grng.runs.config import RunConfig, resolve
from grng.training.building import build_session
from grng.training.device import execution_settings, resolve_device
from grng.training.seeding import preserved_rng

DEFAULT_STEPS = 40


def measure_step_seconds(config: RunConfig, *, steps: int = DEFAULT_STEPS) -> float:
    """Return the mean time of a step in seconds, of a run's first steps, done in memory.

    A mean, so that the rare steps that refresh the curvature count with their share; `steps` should span several of
    their intervals. Nothing is written, global state is left as it was.

    Args:
        config: The run; resolved here if it is not.
        steps: Steps to measure.

    Raises:
        GrngError: If something asked for is not to be had, or the loss is not finite at the very first step.
    """
    config = resolve(config)
    device = resolve_device(config.machine.device)
    machine = config.machine
    settings = execution_settings(device, threads=machine.threads, compiles=machine.compile)
    with preserved_rng(), settings, closing(build_session(config)) as session:
        for _ in range(steps):
            outcome = session.advance()
            if not outcome.finite:
                break
            session.progress.record_step(outcome.loss)
        if session.progress.step == 0:
            raise GrngError("the step time cannot be measured: the first step's loss is not finite.")
        # A step that stopped at a loss that is no number was not a whole one; its small part in the sum is let be.
        return session.clock.elapsed_s / session.progress.step
