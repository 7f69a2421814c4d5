from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from grng.training.errors import Interrupted, Terminated
from grng.training.signals import StopRequest, stop_on_signals


def test_the_first_signal_asks_and_the_second_insists() -> None:
    with stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        assert stop.signal is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_sigterm_is_remembered_as_such() -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        error = stop.error("stopped.", Path("runs/x"))
    assert type(error) is Terminated
    assert error.exit_code == 143
    assert str(error) == "runs/x: stopped. The same command goes on from there."


def test_an_interrupt_without_a_signal() -> None:
    stop = StopRequest()
    stop.set()
    error = stop.error("stopped.", Path("runs/x"))
    assert type(error) is Interrupted
    assert error.exit_code == 130


def test_the_handlers_before_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with stop_on_signals() as stop:
            seen.extend([signal.getsignal(signal.SIGINT), bool(stop)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, False]
