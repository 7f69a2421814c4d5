from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from grng.errors import GrngError
from grng.training.schedule import Schedule, ScheduleName


def optimizer() -> torch.optim.Optimizer:
    first, second = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    return torch.optim.SGD([{"params": [first], "lr": 0.4}, {"params": [second], "lr": 0.001}], lr=1.0)


def factors(name: ScheduleName, total: int, warmup: int, **options: Any) -> list[float]:
    held = optimizer()
    schedule = Schedule(held, name=name, total=total, warmup=warmup, **options)
    rates = []
    for step in range(total):
        schedule.apply(step)
        first, second = (group["lr"] for group in held.param_groups)
        assert second == pytest.approx(first * 0.001 / 0.4), "every group keeps its share"
        rates.append(first / 0.4)
    return rates


def expected(name: ScheduleName, step: int, total: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    x = (step - warmup) / (total - warmup)
    return {"constant": 1.0, "linear": 1 - x, "cosine": 0.5 * (1 + math.cos(math.pi * x))}[name]


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (2, 1), (10, 0), (10, 3), (10, 9), (81, 5)])
def test_the_equations_of_the_module(name: ScheduleName, total: int, warmup: int) -> None:
    assert factors(name, total, warmup) == pytest.approx([expected(name, step, total, warmup) for step in range(total)])


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 4])
def test_no_step_is_spent_at_zero_and_the_full_rate_is_reached(name: ScheduleName, warmup: int) -> None:
    rates = factors(name, 20, warmup)
    assert min(rates) > 0
    assert max(rates) == pytest.approx(1.0)


def test_a_step_asked_for_twice_or_out_of_order_gets_the_same_rate() -> None:
    held = optimizer()
    schedule = Schedule(held, name="cosine", total=30, warmup=5)
    rates = {}
    for step in (20, 3, 0, 29, 7):
        schedule.apply(step)
        rates[step] = held.param_groups[0]["lr"]
    straight = factors("cosine", 30, 5)
    assert {step: rate / 0.4 for step, rate in rates.items()} == pytest.approx({step: straight[step] for step in rates})


def test_loading_the_optimizers_state_does_not_move_the_initial_rates() -> None:
    interrupted = optimizer()
    Schedule(interrupted, name="linear", total=10, warmup=0).apply(8)
    resumed = optimizer()
    schedule = Schedule(resumed, name="linear", total=10, warmup=0)
    resumed.load_state_dict(interrupted.state_dict())
    schedule.apply(5)
    assert resumed.param_groups[0]["lr"] == pytest.approx(0.4 * 0.5)


def test_a_warm_up_as_long_as_the_run() -> None:
    with pytest.raises(GrngError, match=r"a warm-up of 10 steps is not shorter than the run of 10 steps") as caught:
        Schedule(optimizer(), name="cosine", total=10, warmup=10)
    assert caught.value.where == "training.warmup"
    assert caught.value.hint == "Use a warm-up of at most 9 steps, or train for longer."


def test_a_run_of_one_step_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    factors("cosine", 1, 0)
    factors("linear", 3, 2)
    assert caplog.records == []


@pytest.mark.parametrize(("total", "warmup", "every", "rate"), [(10, 0, 3, 0.1), (20, 4, 5, 0.5), (5, 0, 9, 0.1)])
def test_the_step_schedule_falls_by_a_factor_every_so_many_steps_after_the_warm_up(
    total: int, warmup: int, every: int, rate: float
) -> None:
    expected = [(k + 1) / warmup if k < warmup else rate ** ((k - warmup) // every) for k in range(total)]
    assert factors("step", total, warmup, decay_every=every, decay_rate=rate) == pytest.approx(expected)
