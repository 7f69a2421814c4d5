"""Comparisons and sweeps that are killed at any moment and begun again, alone or several on one folder: nothing is lost,
nothing is done twice, nobody is left behind.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.killing import COMPARE, SWEEP, TUNE, Killing, Line, differences, wrong_steps

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LINES = [pytest.param(COMPARE, id="compare"), pytest.param(SWEEP, id="sweep")]
THREE = [*LINES, pytest.param(TUNE, id="tune")]


@pytest.fixture(autouse=True)
def _nobody_stays() -> Iterator[None]:
    yield
    while Line.started:
        running = Line.started.pop()
        running.kill()
        running.wait()


def wait_for(condition: Callable[[], object], *, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("line", LINES)
def test_killed_at_any_time_the_same_line_comes_to_the_same_end(line: tuple[object, ...], tmp_path: Path) -> None:
    count = Killing(line, tmp_path, random.Random(5)).parents(3)
    assert count.kills == 3
    assert (count.touched, count.wrong_steps, count.others) == ([], 0, [])


@pytest.mark.parametrize("line", LINES)
def test_killed_workers_change_nothing(line: tuple[object, ...], tmp_path: Path) -> None:
    count = Killing(line, tmp_path, random.Random(6)).workers(2)
    assert count.kills == 2
    assert (count.touched, count.wrong_steps, count.others) == ([], 0, [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("line", THREE)
def test_nobody_is_left_behind(line: tuple[object, ...], number: signal.Signals, tmp_path: Path) -> None:
    at_work = Line(line, tmp_path / "x")
    running = at_work.begin()
    wait_for(lambda: list((tmp_path / "x").glob("**/checkpoint/last.pt")) or running.poll() is not None)
    running.send_signal(number)
    code = running.wait(120)
    assert code == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    at_work.last_of(running)


@pytest.mark.parametrize("line", LINES)
def test_four_on_one_folder_two_of_them_killed(line: tuple[object, ...], tmp_path: Path) -> None:
    alone = tuple(1 if at and line[at - 1] == "--workers" else part for at, part in enumerate(line))
    straight = Line(alone, tmp_path / "straight")
    assert straight.begin().wait(600) == 0, straight.said
    four = [Line(alone, tmp_path / "x", log=tmp_path / f"log{number}") for number in range(4)]
    lives = [one.begin() for one in four]
    victims: list[int] = []
    for _ in range(2):  # one at work, then another one
        wait_for(lambda: [at for at in range(4) if at not in victims and four[at].workers(lives[at])], seconds=600)
        victim = next(at for at in range(4) if at not in victims and four[at].workers(lives[at]))
        four[victim].kill(lives[victim])
        victims.append(victim)
    survivors = [at for at in range(4) if at not in victims]
    for at in survivors:
        assert lives[at].wait(900) == 0, four[at].said
    for at in survivors:
        assert differences(four[at], straight) == []
        assert "giving up" not in four[at].said
    assert wrong_steps(tmp_path / "x") == 0
    one, other = (four[at].log.with_suffix(".out").read_text() for at in survivors)
    assert one == other, "times included: each run was done once, and both tell of the same one"
    if line is COMPARE:
        own = Counter(
            name
            for at in range(4)
            for name in re.findall(r"^\[\d+/\d+\] (.*?): test accuracy .*(?<!\(reused\))$", four[at].said, re.MULTILINE)
        )
        assert set(own.values()) <= {1}, "no run ended in two processes"
