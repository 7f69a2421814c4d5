"""Where the runs of an experiment stand: states, counts and what time is left; no terminal here."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "running", "elsewhere", "finished", "pruned", "diverged", "failed"]

UNDER_WAY: tuple[State, ...] = ("running", "elsewhere")
STATES: tuple[State, ...] = ("running", "elsewhere", "waiting", "finished", "pruned", "diverged", "failed")
ENDED: tuple[State, ...] = ("finished", "pruned", "diverged", "failed")


@dataclass
class Row:
    """One run.

    Args:
        name: As it is shown.
        kind: Runs of a kind take about the same time a step: its optimizer and workload.
        state: Where it stands; elsewhere: another process does it.
        step: Steps done.
        steps: Steps in all; None until that is known.
        accuracy: The last validation accuracy, a fraction.
        loss: The last batch's.
        reused: It had its result before, or got it from another process.
        begun: When it began here, and at which step.
    """

    name: str
    kind: str
    state: State = "waiting"
    step: int = 0
    steps: int | None = None
    accuracy: float | None = None
    loss: float | None = None
    reused: bool = False
    begun: tuple[float, int] | None = None

    @property
    def ended(self) -> bool:
        """Whether it has a result."""
        return self.state in ENDED


class Board:
    """The runs of an experiment, in the order in which they are to be begun.

    What changes a run takes the same time however many there are; any thread may do so.

    Args:
        at_once: How many runs go at once here.
        clock: Seconds; tests have their own.

    Attributes:
        lock: To be held while several things of it are read; nothing else is to be waited for meanwhile.
        rows: All runs that were put up.
        under_way: Those that run, here or elsewhere.
        counts: How many there are in each state.
        best: The highest validation accuracy of a finished run.
    """

    def __init__(self, at_once: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.at_once = max(1, at_once)
        self.clock = clock
        self.lock = threading.RLock()
        self.rows: dict[Hashable, Row] = {}
        self.under_way: dict[Hashable, Row] = {}
        self.counts: Counter[State] = Counter()
        self.best: float | None = None
        self._expected = 0
        self._waiting: Counter[str] = Counter()
        self._lengths: dict[str, int] = {}
        self._speeds: dict[str, tuple[float, int]] = {}  # seconds and steps of a kind's runs that ended here

    @property
    def total(self) -> int:
        """How many runs there are, those that are not on the board yet included."""
        return max(self._expected, len(self.rows))

    @property
    def ended(self) -> int:
        """How many have a result."""
        return sum(self.counts[state] for state in ENDED)

    def expect(self, total: int) -> None:
        """Take in how many runs there will be."""
        self._expected = total

    def add(self, key: Hashable, name: str, kind: str, steps: int | None = None) -> Row:
        """Put up a run that waits; one that is there stays as it is."""
        with self.lock:
            if key not in self.rows:
                self.rows[key] = Row(name, kind, steps=steps)
                self.counts["waiting"] += 1
                self._waiting[kind] += 1
                if steps:
                    self._lengths[kind] = steps
            return self.rows[key]

    def start(self, key: Hashable, steps: int, step: int = 0) -> None:
        """Take in that a run has begun, at `step` if it was resumed."""
        with self.lock:
            row = self.rows[key]
            row.steps, row.step, row.begun = steps, step, (self.clock(), step)
            self._lengths[row.kind] = steps
            self._move(key, "running")

    def advance(self, key: Hashable, step: int | None = None, *, loss: float | None = None) -> None:
        """Take in what a running run has done."""
        row = self.rows[key]
        row.step = row.step if step is None else step
        row.loss = row.loss if loss is None else loss

    def score(self, key: Hashable, accuracy: float | None) -> None:
        """Take in a validation accuracy."""
        self.rows[key].accuracy = accuracy

    def leave(self, key: Hashable, state: Literal["waiting", "elsewhere"]) -> None:
        """Take in that nobody does a run any more, or another process does it."""
        with self.lock:
            self.rows[key].begun = None
            self._move(key, state)

    def end(
        self,
        key: Hashable,
        state: State,
        *,
        step: int | None = None,
        accuracy: float | None = None,
        reused: bool = False,
    ) -> None:
        """Take in that a run has ended."""
        with self.lock:
            row = self.rows[key]
            self.advance(key, step)
            row.reused = reused
            row.accuracy = row.accuracy if accuracy is None else accuracy
            if row.begun is not None and state == "finished":
                begun, first = row.begun
                spent, steps = self._speeds.get(row.kind, (0.0, 0))
                self._speeds[row.kind] = (spent + self.clock() - begun, steps + row.step - first)
            row.begun = None
            if state == "finished" and row.accuracy is not None:
                self.best = row.accuracy if self.best is None else max(self.best, row.accuracy)
            self._move(key, state)

    def left(self, row: Row) -> float | None:
        """Return the seconds that a running run will go on, by its own speed; None where that is not known."""
        if row.state != "running" or row.steps is None:
            return None
        pace = self._own_pace(row) or self._pace(row.kind)
        return None if pace is None else pace * max(0, row.steps - row.step)

    def all_left(self) -> float | None:
        """Return the seconds until all runs that are to be done here have ended; None where that is not known."""
        running = [row for row in self.under_way.values() if row.state == "running"]
        times = [self.left(row) for row in running]
        known = [one for one in times if one is not None]
        waiting = 0.0
        count = self.counts["waiting"] + self.total - len(self.rows)
        for kind, number in self._waiting.items():
            pace, length = self._pace(kind), self._lengths.get(kind) or max(self._lengths.values(), default=0)
            if number and (pace is None or not length):
                return None
            waiting += number * (pace or 0.0) * length
        unseen = count - self._waiting.total()
        if unseen:  # of workloads or rows whose turn has not come
            each = self._mean()
            if each is None:
                return None
            waiting += unseen * each
        if len(known) < len(times) or not (running or count):
            return None
        return max([*known, (sum(known) + waiting) / min(self.at_once, max(1, len(running) + count))])

    def _move(self, key: Hashable, state: State) -> None:
        row = self.rows[key]
        self.counts[row.state] -= 1
        self._waiting[row.kind] -= row.state == "waiting"
        row.state = state
        self.counts[state] += 1
        self._waiting[row.kind] += state == "waiting"
        if state in UNDER_WAY:
            self.under_way[key] = row
        else:
            self.under_way.pop(key, None)

    def _own_pace(self, row: Row) -> float | None:
        """Return the seconds of a step of this run."""
        if row.begun is None or row.step <= row.begun[1]:
            return None
        return (self.clock() - row.begun[0]) / (row.step - row.begun[1])

    def _pace(self, kind: str) -> float | None:
        """Return the seconds of a step of this kind, or of all kinds where none of its own is known."""
        spent, steps = self._speeds.get(kind, (0.0, 0))
        if steps:
            return spent / steps
        own = [self._own_pace(row) for row in self.under_way.values() if row.kind == kind]
        others = [self._own_pace(row) for row in self.under_way.values()]
        others += [spent / steps for spent, steps in self._speeds.values() if steps]
        paces = [one for one in own if one is not None] or [one for one in others if one is not None]
        return sum(paces) / len(paces) if paces else None

    def _mean(self) -> float | None:
        """Return the seconds of a run of any kind."""
        each = [
            pace * length for kind, length in self._lengths.items() if (pace := self._pace(kind)) is not None and length
        ]
        return sum(each) / len(each) if each else None
