"""One run in several processes of this machine: started together, stopped together, and none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from torch import distributed

from grng.errors import GrngError
from grng.experiments.pool import server, worker
from grng.experiments.pool.executor import EventHandler, run_training
from grng.experiments.pool.failed import record_failure
from grng.experiments.pool.local import STOP, STOP_SECONDS, how_ended
from grng.experiments.pool.printed import Printed
from grng.experiments.pool.slots import Slot, share_out, usable_cores
from grng.runs.config import RunConfig, resolve
from grng.runs.exhausted import memory_hint
from grng.runs.kernel_kills import kernel_kills, rose
from grng.runs.launched import Place, launched
from grng.runs.result import Reason, RunResult
from grng.runs.rundir import RunDirectory
from grng.training.distributed import check_devices
from grng.training.errors import ProcessLost
from grng.training.events import Listener, RunEnded
from grng.training.signals import StopRequest, stop_on_signals
from grng.training.trainer import DONE, OnExisting, reused, train

ADDRESS = "127.0.0.1"

GRACE_SECONDS = 15.0
"""How long the others may take to notice that one of them died, and to write it down, before they are killed."""

BEGINNING_SECONDS = 3.0
"""The same for processes that were told to stop before the run began: they may be waiting for each other."""

_POLL_SECONDS = 0.1
_TCPStore: Any = getattr(distributed, "TCPStore", None)  # torch exports it, and does not say so


def launch(
    config: RunConfig,
    directory: Path,
    *,
    listeners: Sequence[Listener] = (),
    on_existing: OnExisting = "reuse",
    time_shared: bool = False,
) -> RunResult:
    """Do one run, or the rest of it, in `machine.processes` processes; arguments and result are those of `train`.

    Each process has cores of its own, or a GPU. The first signal is handed on to all of them, once; they stop at the
    same step and save it. They end, too, when this process dies.

    Raises:
        GrngError: As `train`; or torchrun has started processes already.
        ProcessLost: A process died; the others were ended, and the same call goes on from the last checkpoint.
    """
    config = resolve(config)
    count = config.machine.processes or 1
    if count == 1:
        return train(config, directory, listeners=listeners, on_existing=on_existing, time_shared=time_shared)
    if launched() is not None:
        raise GrngError(
            "a launcher has started processes already, and each of them would start more.",
            where="machine.processes",
            hint="Leave it out under torchrun.",
        )
    check_devices(config.machine.device, count)
    place = RunDirectory(Path(directory))
    if place.check(config) in DONE and on_existing == "reuse":
        return reused(place, listeners)
    with stop_on_signals() as stop, _Ranks(config, place, count, time_shared=time_shared) as ranks:
        try:
            ranks.start(rerun=on_existing == "rerun")
            ranks.watch(partial(_tell, listeners, stop), stop)
        except KeyboardInterrupt:
            ranks.stop()  # the second time: they end at once
            ranks.await_end(GRACE_SECONDS)
            raise stop.error("stopped at once; steps after the last checkpoint are lost.", place.path) from None
        return ranks.result(stop)


def run_rank(
    config: RunConfig,
    directory: Path,
    *,
    on_event: EventHandler,
    time_shared: bool,
    rerun: bool,
    environment: dict[str, str],
) -> RunResult:
    """Be one of the processes: a `Runner`, with what torchrun would have set."""
    os.environ.update(environment)
    return run_training(config, directory, on_event=on_event, time_shared=time_shared, rerun=rerun)


@dataclass
class _Rank:
    process: ForkServerProcess
    channel: Connection
    printed: Printed
    word: worker.Done | worker.Stopped | worker.Failed | None = None
    heard: bool = True
    """Whether more may come from the channel."""


class _Ranks:
    """The processes of one run, and what became of them."""

    def __init__(self, config: RunConfig, place: RunDirectory, count: int, *, time_shared: bool) -> None:
        self._config, self._place, self._count = config, place, count
        slots = share_out(workers=count, threads=config.machine.threads, cores=usable_cores())
        self._slots = [replace(slot, time_shared=slot.time_shared or time_shared) for slot in slots]
        self._ranks: list[_Rank] = []
        self._lost: str | None = None
        self._deadline: float | None = None
        self._told = self._begun = self._exhausted = False
        self._kills = kernel_kills()
        self._stopped: str | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> _Ranks:
        return self

    def __exit__(self, *exception: object) -> None:
        self._kill()
        self.await_end(None)
        for rank in self._ranks:
            rank.channel.close()
            rank.process.close()
        self._open.close()

    def start(self, *, rerun: bool) -> None:
        """Start all of them. They meet at a store of this process's, which outlives each of them."""
        self._store = _TCPStore(ADDRESS, 0, is_master=True, wait_for_workers=False)
        for number, slot in enumerate(self._slots):
            self._ranks.append(self._started(number, slot, rerun=rerun))

    def watch(self, on_event: Callable[[Any], None], stop: StopRequest) -> None:
        """Pass events on until the last of them has ended."""
        while open_ones := [rank for rank in self._ranks if rank.heard]:
            for channel in wait([rank.channel for rank in open_ones], timeout=_POLL_SECONDS):
                rank = next(rank for rank in open_ones if rank.channel is channel)
                self._hear(rank, on_event)
            if stop and not self._told:
                self._told = True
                self._deadline = time.monotonic() + (STOP_SECONDS if self._begun else BEGINNING_SECONDS)
                self.stop()
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._kill()

    def result(self, stop: StopRequest) -> RunResult:
        """Return the run's result, or raise what kept it from having one."""
        leader = self._ranks[0].word
        if isinstance(leader, worker.Done):
            if stop:
                raise stop.error("stopped after the last step; the result is saved.", self._place.path)
            return leader.result
        if self._lost is not None and not stop:
            raise self._loss()
        failed = next((rank.word for rank in self._ranks if isinstance(rank.word, worker.Failed)), None)
        if failed is not None and not stop:
            raise failed.error
        if not stop:  # a signal to one of them alone
            stop.signal = STOP
        raise stop.error(self._stopped or "stopped before the first step.", self._place.path)

    def stop(self) -> None:
        """Tell all of them once."""
        for rank in self._ranks:
            self._signal(rank, STOP)

    def await_end(self, seconds: float | None) -> None:
        """Wait until all have ended, or the time is over."""
        deadline = None if seconds is None else time.monotonic() + seconds
        for rank in self._ranks:
            rank.process.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _started(self, number: int, slot: Slot, *, rerun: bool) -> _Rank:
        environment = Place(number, self._count, number, self._count).environment(
            address=ADDRESS, port=self._store.port
        )
        # torch then takes the store for one that is there already, as it does under torchrun
        environment["TORCHELASTIC_USE_AGENT_STORE"] = str(True)
        printed = self._open.enter_context(Printed())
        runner = partial(run_rank, environment=environment)
        job = worker.Job(self._config, self._place.path, slot, rerun, printed, runner)
        context = server.context()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=worker.main, args=(job, sender))
        process.start()
        sender.close()  # so that the end of the process is the end of the pipe
        return _Rank(process, receiver, printed)

    def _hear(self, rank: _Rank, on_event: Callable[[Any], None]) -> None:
        try:
            message = rank.channel.recv()
        except (EOFError, OSError):
            rank.heard = False
            rank.process.join(GRACE_SECONDS)
            if rank.word is None and self._lost is None and not self._told:
                number = self._ranks.index(rank)
                code = rank.process.exitcode or 0
                self._exhausted = code == -signal.SIGKILL and rose(self._kills, kernel_kills())
                how = how_ended(code, rank.printed, exhausted=self._exhausted)
                self._lost = f"process {number} of the run's {self._count} ended before its time: {how}"
                self._deadline = time.monotonic() + GRACE_SECONDS
            return
        if isinstance(message, worker.Event):
            self._begun = True
            if isinstance(message.event, RunEnded) and message.event.result.status == "interrupted":
                self._stopped = message.event.result.message
            on_event(message.event)
            return
        rank.word = message
        if isinstance(message, worker.Failed) and self._deadline is None:  # the others wait for it in vain
            self._deadline = time.monotonic() + GRACE_SECONDS

    def _loss(self) -> ProcessLost:
        """Return the error of a process that died, written down as the run's result."""
        assert self._lost is not None
        lost = f"{self._lost.rstrip('.')}."
        ways = memory_hint(self._config) if self._exhausted else None
        with contextlib.suppress(GrngError):
            reason: Reason = "oom" if self._exhausted else "crash"
            record_failure(self._config, self._place.path, lost.rstrip("."), reason=reason)
            with self._place.claim():
                result = self._place.result()
                if result is not None and result.status == "failed":
                    told: dict[str, Any] = {"message": lost if ways is None else f"{lost} {ways}"}
                    told |= {"reason": "crash" if ways is None else "oom", "world_size": self._count}
                    result.model_copy(update=told).save(self._place.result_file)
        return ProcessLost(
            lost, where=str(self._place.path), hint=ways or "The same command goes on from the last checkpoint."
        )

    def _kill(self) -> None:
        for rank in self._ranks:
            self._signal(rank, signal.SIGKILL)

    def _signal(self, rank: _Rank, number: signal.Signals) -> None:
        if rank.process.is_alive() and rank.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank.process.pid, number)


def _tell(listeners: Sequence[Listener], stop: StopRequest, event: Any) -> None:
    for listener in listeners:
        try:
            listener(event)
        except KeyboardInterrupt:
            stop.set()
