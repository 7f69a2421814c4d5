"""One run in a directory: reused if it is done, resumed if it was cut off, and its end written down."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from grng.errors import GrngError
from grng.runs.config import RunConfig, resolve
from grng.runs.result import RunResult
from grng.runs.rundir import RunDirectory, RunState
from grng.training.building import build_session
from grng.training.device import execution_settings
from grng.training.distributed import World, joined
from grng.training.errors import Interrupted, RunFailed
from grng.training.events import Listener, RunEnded
from grng.training.failures import failure
from grng.training.feed import load_data
from grng.training.follower import Follower
from grng.training.loop import Loop
from grng.training.outcome import Circumstances, build_result
from grng.training.runfiles import RunFiles, clear
from grng.training.seeding import preserved_rng
from grng.training.session import Session
from grng.training.signals import StopRequest, stop_on_signals

OnExisting = Literal["reuse", "rerun"]

DONE = (RunState.FINISHED, RunState.DIVERGED)
"""States of a directory whose run is not done again."""


def train(
    config: RunConfig,
    directory: Path,
    *,
    listeners: Sequence[Listener] = (),
    on_existing: OnExisting = "reuse",
    time_shared: bool = False,
) -> RunResult:
    """Do one run, or the rest of it.

    A run that finished or diverged in `directory` is not done again: its stored result is returned. One that was
    interrupted, killed, or failed goes on from its last checkpoint, on a CPU with the same number of threads bit for
    bit as if nothing had happened. Global state (random generators, threads, torch's switches, signal handlers) is
    left as it was.

    Under torchrun, or as started by `grng.experiments.pool.launch.launch`, all processes call it: each trains on its
    part of every batch, the first one writes and has the listeners.

    Args:
        config: The run; resolved here if it is not.
        directory: The run directory; made when missing.
        listeners: Called with every event (`grng.training.events`), after the files are written. One that raises
            KeyboardInterrupt stops the run as Ctrl-C does.
        on_existing: `rerun` removes what an earlier run of the same config left and starts from step 0.
        time_shared: Whether other runs share the cores or the device meanwhile; noted in the result.

    Returns:
        The result, as stored in `result.json`; a diverged run has one too.

    Raises:
        GrngError: If something asked for is not to be had; nothing is written.
        RunDirectoryError: If the directory is not this run's, is in use, or cannot be written.
        Interrupted: After Ctrl-C (`Terminated`: SIGTERM); the current step is finished and saved. A second signal
            ends the run at once, and it goes on from its last checkpoint.
        RunFailed: If training crashed or ran out of memory; `result.json` says so.
    """
    with joined(resolve(config)) as (config, world):
        device = world.device(config.machine.device)
        place = RunDirectory(Path(directory))
        listeners = listeners if world.leads else ()
        rerun = on_existing == "rerun"
        state = world.together(lambda: place.check(config) if world.leads else None)
        if world.leaders(state in DONE and not rerun):
            return reused(place, listeners)
        machine = config.machine
        settings = execution_settings(device, threads=machine.threads, compiles=machine.compile)
        with stop_on_signals() as stop, preserved_rng(), settings:
            try:
                session = _build(config, world, place, time_shared=time_shared)
                with closing(session):
                    return _train(config, place, session, listeners, stop, rerun=rerun, time_shared=time_shared)
            except KeyboardInterrupt:
                # The second signal: nothing more is saved, the last checkpoint stands.
                raise stop.error("stopped at once; steps after the last checkpoint are lost.", place.path) from None


def _build(config: RunConfig, world: World, place: RunDirectory, *, time_shared: bool) -> Session:
    """Build the session before anything is written: what cannot be had leaves no trace, a crash is written down."""
    circumstances = Circumstances(datetime.now(UTC), 0.0, None, time_shared)
    try:
        if world.active and config.dataset.download:  # by one process alone, before the others look for it
            world.together(lambda: load_data(config) if world.leads else None)
        session = world.together(lambda: build_session(config, world))
        session.meet()
        return session
    except GrngError:
        raise
    except Exception as error:
        why = failure(config, error)
        result = build_result(config, None, circumstances, status="failed", reason=why.reason, message=why.stored)
        if world.leads:
            place.prepare(config)
            with place.claim():
                result.save(place.result_file)
        raise RunFailed(why.message, where=str(place.path), hint=why.hint) from error


def _train(
    config: RunConfig,
    place: RunDirectory,
    session: Session,
    listeners: Sequence[Listener],
    stop: StopRequest,
    *,
    rerun: bool,
    time_shared: bool,
) -> RunResult:
    world = session.world
    with ExitStack() as held:

        def opened() -> RunFiles | None:
            """Claim the directory and open its files; None where another process finished the run since we looked."""
            place.prepare(config)
            held.enter_context(place.claim())
            if rerun:
                clear(place)
            elif place.state() in DONE:
                return None
            return held.enter_context(closing(RunFiles(place, config, session, time_shared=time_shared)))

        files: RunFiles | Follower | None = world.together(lambda: opened() if world.leads else None)
        if world.leaders(files is None):
            return reused(place, listeners)
        followed = world.together(lambda: None if world.leads else Follower(place, config, session))
        files = files or followed
        assert files is not None, "a process has files or follows"
        try:
            result = Loop(config, session, files, listeners, stop).run()
            world.part()
            return result
        except Interrupted:
            world.part()
            raise
        except Exception as error:
            world.leave_word(error)
            cause = world.cause(error, place.path)
            why = failure(config, cause)
            with suppress(GrngError):  # the disk may be what failed
                if world.leads and place.state() not in DONE:  # else a listener stumbled over the end: it stands
                    files.record(status="failed", reason=why.reason, message=why.stored)
            if cause is error and isinstance(error, GrngError):
                raise
            if isinstance(cause, GrngError):
                raise cause from error
            raise RunFailed(why.message, where=str(place.path), hint=why.hint) from error


def reused(place: RunDirectory, listeners: Sequence[Listener]) -> RunResult:
    """Return the stored result of a run that is done, and tell the listeners."""
    result = place.result()
    assert result is not None, "a directory that counts as done has a result"
    for listener in listeners:
        listener(RunEnded(result, reused=True))
    return result
