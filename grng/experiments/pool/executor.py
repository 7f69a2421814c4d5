"""What runs configs: the interface, and the executor that runs them in this process."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from grng.experiments.pool.failed import failure_event, is_interrupt, is_users, record_failure

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import RunResult

EventHandler = Callable[[Any], None]
"""Receives the training events (`grng.training.events`) of one run, and `WorkerDied`; may be called from any thread."""


class Runner(Protocol):
    """What does one run; picklable, so that a worker process can call it."""

    def __call__(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
    ) -> RunResult:
        """Do or resume the run of `config` in `directory` and return its result."""
        ...


def run_training(
    config: RunConfig, directory: Path, *, on_event: EventHandler, time_shared: bool, rerun: bool
) -> RunResult:
    """Train: the runner of every executor outside of tests."""
    from grng.training.trainer import train

    return train(
        config,
        directory,
        listeners=[on_event],
        on_existing="rerun" if rerun else "reuse",
        time_shared=time_shared,
    )


class Executor(ABC):
    """Runs configs, one run = one directory. A context manager: leaving it by an exception cancels what has not ended.

    `submit` returns at once or when the run has ended, as the kind of executor has it; the future then holds the
    `RunResult`, or the error that kept the run from having one. A run that crashes or dies has a result: status failed.
    """

    @abstractmethod
    def submit(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler | None = None, rerun: bool = False
    ) -> Future[RunResult]:
        """Hand over one run: `config` (resolved) to be run, resumed or reused in `directory`.

        Args:
            config: A resolved config.
            directory: The run's directory; made when missing.
            on_event: Called with every event of the run; StepDone events may be thinned out.
            rerun: Throw away what a finished run left in `directory` and do it again.
        """

    @abstractmethod
    def stop(self, directory: Path) -> None:
        """Have the run in `directory` save itself and stop, where it has been submitted and has not ended.

        Its future then holds a result of status interrupted, and it goes on when it is submitted again.
        """

    @abstractmethod
    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what was submitted; with `cancel`, drop what waits and have what runs save itself and stop."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown(cancel=error is not None)


def stopped_result(directory: Path) -> RunResult:
    """Return the result that a run which was told to stop has left behind."""
    from grng.runs.result import RunResult

    return RunResult.load(directory / "result.json")


class OnDemand(Executor):
    """Hands runs to an executor that is made for the first of them: where there is none to do, nothing is started.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], Executor]) -> None:
        self._make = make
        self._made: Executor | None = None

    def submit(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler | None = None, rerun: bool = False
    ) -> Future[RunResult]:
        """Hand over one run."""
        if self._made is None:
            self._made = self._make()
        return self._made.submit(config, directory, on_event=on_event, rerun=rerun)

    def stop(self, directory: Path) -> None:
        """Have a run stop, where one was submitted."""
        if self._made is not None:
            self._made.stop(directory)

    def shutdown(self, *, cancel: bool = False) -> None:
        """Shut it down, where it was made."""
        if self._made is not None:
            self._made.shutdown(cancel=cancel)


def ignore_event(event: Any) -> None:
    """Do nothing with `event`."""


class InProcessExecutor(Executor):
    """Runs each config within `submit`, in this process: for debuggers (`--workers 0`)."""

    def __init__(self, *, runner: Runner = run_training) -> None:
        self._runner = runner
        self._told_to_stop: Path | None = None

    def stop(self, directory: Path) -> None:
        """Have the present run stop, at its next event."""
        self._told_to_stop = directory

    def submit(
        self, config: RunConfig, directory: Path, *, on_event: EventHandler | None = None, rerun: bool = False
    ) -> Future[RunResult]:
        """Run `config` now; an interrupt or a termination ends the caller too, any other error is the future's."""
        future: Future[RunResult] = Future()
        future.set_running_or_notify_cancel()
        self._told_to_stop = None

        def passed_on(event: Any) -> None:
            (on_event or ignore_event)(event)
            if self._told_to_stop == directory and not stopping:
                stopping.append(True)
                raise KeyboardInterrupt  # as Ctrl-C does: the run saves itself

        stopping: list[bool] = []
        try:
            result = self._runner(config, directory, on_event=passed_on, time_shared=False, rerun=rerun)
        except Exception as error:
            if stopping and is_interrupt(error):
                future.set_result(stopped_result(directory))
            elif is_users(error):
                future.set_exception(error)
            else:
                result = record_failure(config, directory, traceback.format_exc())
                (on_event or ignore_event)(failure_event(result))
                future.set_result(result)
        else:
            future.set_result(result)
        return future

    def shutdown(self, *, cancel: bool = False) -> None:
        """Do nothing: no run outlives its `submit`."""
