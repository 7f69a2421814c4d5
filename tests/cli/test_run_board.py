"""Where runs stand, and what time is left: against sums done by hand."""

from __future__ import annotations

import pytest

from grng_cli.live.run_board import Board


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_is_left_of_a_run_and_of_all(clock: Clock) -> None:
    board = Board(2, clock)
    for number, kind in enumerate(("fast", "slow", "fast", "slow")):
        board.add(number, f"run {number}", kind, 100)
    assert board.all_left() is None, "nothing is known yet"
    board.start(0, 100)
    board.start(1, 100, step=50)  # resumed: what was done before took no time here
    clock.now = 30.0
    board.advance(0, 30)
    board.advance(1, 60)
    assert board.left(board.rows[0]) == 70 * 1.0
    assert board.left(board.rows[1]) == 40 * 3.0
    assert board.left(board.rows[2]) is None
    assert board.all_left() == pytest.approx((70 + 120 + 100 * 1.0 + 100 * 3.0) / 2)
    clock.now = 100.0
    board.end(0, "finished", step=100, accuracy=0.9)
    board.advance(1, 100)  # at 2 s a step
    assert board.all_left() == pytest.approx((0 + 100 * 1.0 + 100 * 2.0) / 2)


def test_one_long_run_is_longer_than_its_share(clock: Clock) -> None:
    board = Board(4, clock)
    board.add("long", "long", "a")
    board.start("long", 1000)
    board.add("short", "short", "b")
    board.start("short", 20)
    clock.now = 10.0
    board.advance("long", 10)
    board.advance("short", 10)
    assert board.all_left() == 990.0


def test_runs_of_workloads_to_come_take_what_the_others_take(clock: Clock) -> None:
    board = Board(1, clock)
    board.expect(3)
    board.add(0, "run", "a", 10)
    board.start(0, 10)
    clock.now = 5.0
    board.advance(0, 5)
    assert (board.total, board.ended) == (3, 0)
    assert board.all_left() == 5 + 2 * 10


def test_what_others_do_is_not_waited_for_here(clock: Clock) -> None:
    board = Board(1, clock)
    for number in range(2):
        board.add(number, "run", "a", 10)
    board.start(0, 10)
    board.leave(1, "elsewhere")
    clock.now = 5.0
    board.advance(0, 5)
    assert board.all_left() == 5
    board.end(1, "finished", accuracy=0.5, reused=True)
    assert board.all_left() == 5, "how long another process took says nothing of this one"


def test_counts_and_the_best(clock: Clock) -> None:
    board = Board(1, clock)
    for number in range(5):
        board.add(number, "run", "a")
    board.add(0, "again", "a")
    board.start(0, 10)
    board.leave(0, "waiting")  # its worker died
    board.start(0, 10)
    board.end(0, "finished", accuracy=0.7)
    board.end(1, "finished", accuracy=0.8)
    board.end(2, "diverged", accuracy=0.9)
    board.end(3, "failed")
    assert {state: count for state, count in board.counts.items() if count} == {
        "finished": 2,
        "diverged": 1,
        "failed": 1,
        "waiting": 1,
    }
    assert board.best == 0.8, "of those that finished"
    assert (board.ended, board.total, board.under_way) == (4, 5, {})
