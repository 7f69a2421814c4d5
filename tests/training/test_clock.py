from __future__ import annotations

import io

import pytest
import torch

from grng.training.clock import PHASES, StepClock


class Time:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def clock(time: Time) -> StepClock:
    return StepClock(torch.device("cpu"), now=time)


def do_step(clock: StepClock, time: Time, **phases: float) -> None:
    with clock.step():
        for phase, seconds in phases.items():
            with clock.phase(phase):  # type: ignore[arg-type]
                time.seconds += seconds


def test_before_the_first_step_there_are_no_means(clock: StepClock) -> None:
    assert clock.elapsed_s == 0
    assert clock.step_ms is None
    assert clock.step_ms_median is None
    assert clock.timing() == {}


def test_means_include_the_rare_expensive_step_and_the_median_does_not(clock: StepClock, time: Time) -> None:
    for step in range(10):
        do_step(clock, time, forward=0.010, optimizer=0.100 if step == 0 else 0.010)
    assert clock.step_ms == pytest.approx(29.0)
    assert clock.step_ms_median == pytest.approx(20.0)
    assert clock.phase_ms("optimizer") == pytest.approx(19.0)
    assert clock.phase_ms("forward") == pytest.approx(10.0)
    assert clock.phase_ms("observe") == 0
    assert sum(clock.timing()[f"{phase}_ms"] for phase in PHASES) == pytest.approx(clock.timing()["step_ms"])


def test_time_between_steps_does_not_count(clock: StepClock, time: Time) -> None:
    do_step(clock, time, data=1.0)
    time.seconds += 1000
    do_step(clock, time, data=2.0)
    assert clock.elapsed_s == pytest.approx(3.0)


def test_a_step_that_raises_does_not_count(clock: StepClock, time: Time) -> None:
    do_step(clock, time, data=1.0)

    def fail() -> None:
        with clock.step():
            with clock.phase("data"):
                time.seconds += 5
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert clock.elapsed_s == pytest.approx(1.0)
    assert clock.phase_ms("data") == pytest.approx(1000.0)


def test_totals_go_through_a_checkpoint(clock: StepClock, time: Time) -> None:
    do_step(clock, time, data=1.0)
    do_step(clock, time, backward=3.0)
    file = io.BytesIO()
    torch.save(clock.state_dict(), file)
    file.seek(0)
    resumed = StepClock(torch.device("cpu"), now=time)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.timing() == clock.timing()
    do_step(resumed, time, backward=8.0)
    assert resumed.elapsed_s == pytest.approx(12.0)
    assert resumed.step_ms == pytest.approx(4000.0)
    assert resumed.step_ms_median == pytest.approx(3000.0)
    assert resumed.phase_ms("backward") == pytest.approx(11000.0 / 3)


def test_the_real_clock_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StepClock(torch.device("cpu"))
    with clock.step(), clock.phase("forward"):
        torch.randn(300, 300) @ torch.randn(300, 300)
    assert clock.elapsed_s > 0
    assert clock.step_ms is not None
    assert 0 < clock.timing()["forward_ms"] <= clock.step_ms


def test_the_device_is_synchronised_at_the_edges_of_every_phase(monkeypatch: pytest.MonkeyPatch, time: Time) -> None:
    calls: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", calls.append)
    clock = StepClock(torch.device("cuda", 1), now=time)
    with clock.step(), clock.phase("forward"):
        assert len(calls) == 2
    assert calls == [torch.device("cuda", 1)] * 4
