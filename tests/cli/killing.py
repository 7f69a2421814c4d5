"""Real `grng compare` and `grng sweep` that are killed at random moments and begun again by the same line.

What they come to is held against the same line that nobody disturbed. Used by tests, and by
`scripts/kill_experiments.py` with many kills.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import psutil

from grng.runs.result import RunResult
from tests.training.helpers import checkpoint, difference, metrics, untimed

ORPHAN_SECONDS = 5.0
"""How long a process of a command that was killed may go on, once it has started: no earlier does it notice anything."""

STEPS = 16
_RUN = (
    *("--steps", STEPS, "--batch-size", 8, "--dataset", "digits", "--img-size", 32, "--model", "test_vit"),
    *("--set", "logging.checkpoint_every=2", "--set", "logging.log_every=1"),
)
_WORKERS = ("--workers", 2, "--threads-per-run", 1, "--oversubscribe", "--json")
COMPARE = ("compare", *_RUN, *_WORKERS, "--optimizers", "adamw,ring", "--seeds", 2)
SWEEP = ("sweep", *_RUN, *_WORKERS, "--optimizer", "adamw", "--trials", 4)
TUNE = ("compare", *_RUN, *_WORKERS, "--optimizers", "sgd,adamw", "--seeds", 1, "--tune", 2)

_MARK = "GRNG_TEST_LINE"
_UNTIMED = re.compile(r".*_(s|ms|mb)|.*time.*|step_ratio.*|directory|directories|config|memory.*")


class Line:
    """A command line at work in a directory; a life of it after the other.

    Args:
        arguments: What follows `grng`.
        place: Its `--output`.
        log: What it prints goes to this file, `.out` and `.err`; default: beside `place`.
    """

    started: ClassVar[list[subprocess.Popen[bytes]]] = []
    """All lives of all lines, for whoever has to end what a failure left."""

    def __init__(self, arguments: tuple[object, ...], place: Path, *, log: Path | None = None) -> None:
        self.place = place
        self.log = log or place
        self._arguments = arguments
        self._marks: dict[int, str] = {}

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it, once more."""
        self.place.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "grng_cli", *map(str, self._arguments), "--output", str(self.place)]
        mark = uuid.uuid4().hex
        with self.log.with_suffix(".out").open("wb") as out, self.log.with_suffix(".err").open("ab") as err:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", _MARK: mark}
            running = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        self._marks[running.pid] = mark
        self.started.append(running)
        return running

    def kill(self, running: subprocess.Popen[bytes]) -> bool:
        """Kill the command itself, not its workers; return whether it had not ended."""
        running.kill()
        return running.wait() == -signal.SIGKILL

    def last_of(self, running: subprocess.Popen[bytes]) -> float:
        """Wait until no process of a life of it is left, and return how long that took.

        Raises:
            AssertionError: One was there for too long.
        """
        begun, limit = time.monotonic(), ORPHAN_SECONDS
        while found := _marked(self._marks[running.pid]):
            if time.monotonic() - begun > limit == ORPHAN_SECONDS:  # is the machine so busy?
                limit += 2 * _start_of_python()
            assert time.monotonic() - begun < limit, f"left behind: {[_described(one) for one in found]}"
            time.sleep(0.05)
        return time.monotonic() - begun

    def workers(self, running: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """Return the processes that do its runs: the children of its fork server."""
        with contextlib.suppress(psutil.Error):
            return [one for child in psutil.Process(running.pid).children() for one in child.children()]
        return []

    @property
    def document(self) -> Any:
        """What its last life printed, without times and places."""
        return untimed_document(json.loads(self.log.with_suffix(".out").read_text()))

    @property
    def said(self) -> str:
        """What all of its lives said on stderr."""
        return self.log.with_suffix(".err").read_text()

    def remove(self) -> None:
        """Remove all that it has written."""
        shutil.rmtree(self.place)
        for suffix in (".out", ".err"):
            self.log.with_suffix(suffix).unlink()


def _start_of_python() -> float:
    """Return the seconds that a fork server takes now until it can notice anything."""
    begun = time.monotonic()
    code = "from multiprocessing.forkserver import main; import grng.experiments.pool.server"
    subprocess.run([sys.executable, "-B", "-c", code], check=True)
    return time.monotonic() - begun


def _described(process: psutil.Process) -> dict[str, object]:
    with contextlib.suppress(psutil.Error):
        return process.as_dict(["pid", "ppid", "status", "cpu_times", "create_time", "num_threads", "cmdline"])
    return {"pid": process.pid}


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if one.environ().get(_MARK) == mark and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def untimed_document(value: Any) -> Any:
    """Return a JSON document without what depends on the clock, the machine or the place."""
    if isinstance(value, dict):
        return {key: untimed_document(one) for key, one in value.items() if not _UNTIMED.fullmatch(key)}
    return [untimed_document(one) for one in value] if isinstance(value, list) else value


def ended_runs(place: Path) -> dict[str, Path]:
    """Return the directories of the runs that have finished, by name."""
    found = {}
    for path in sorted(place.glob("**/result.json")):
        if RunResult.load(path).status in ("finished", "diverged"):
            found[str(path.parent.relative_to(place))] = path.parent
    return found


class Untouched:
    """Finished runs as they were first seen; nothing of them may change afterwards."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, tuple[str, int]]] = {}

    def look(self, place: Path, *, settled: bool = True) -> list[str]:
        """Return the files that have changed; where all is quiet (`settled`), take in the runs that are new."""
        changed = []
        ended = ended_runs(place)
        for name, files in self._seen.items():
            now = _files(ended[name]) if name in ended else {}
            changed += [f"{name}/{file}" for file in files if now.get(file) != files[file]]
            changed += [f"{name}/{file}" for file in now.keys() - files.keys()]
        if settled:
            self._seen.update({name: _files(path) for name, path in ended.items() if name not in self._seen})
        return changed


def _files(directory: Path) -> dict[str, tuple[str, int]]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def differences(line: Line, straight: Line) -> list[str]:
    """Return in what a line that was killed has come to another end than one that was not."""
    ended, expected = ended_runs(line.place), ended_runs(straight.place)
    found = [f"{name}: missing or too many" for name in ended.keys() ^ expected.keys()]
    for name in ended.keys() & expected.keys():
        here, there = ended[name], expected[name]
        result, other = (RunResult.load(path / "result.json") for path in (here, there))
        if (result.final, result.best, result.pairing) != (other.final, other.best, other.pairing):
            found.append(f"{name}: result.json")
        if untimed(here) != untimed(there):
            found.append(f"{name}: metrics.jsonl")
        if at := difference(checkpoint(here), checkpoint(there)):
            found.append(f"{name}: last.pt {at}")
    if at := difference(line.document, straight.document):
        found.append(f"the final table: {at}")
    for journal in line.place.glob("**/trials.log"):
        entries = [json.loads(text) for text in journal.read_text().splitlines()]
        trials = len(list((journal.parent / "trials").iterdir()))
        begun = sum(entry["op_code"] == 4 for entry in entries)
        told = [entry["trial_id"] for entry in entries if entry["op_code"] == 6]
        if begun != trials or sorted(told) != list(range(trials)):
            found.append(f"{journal}: {trials} trials, {begun} begun, {told} ended")
    return found


def wrong_steps(place: Path) -> int:
    """Return how many steps are missing or doubled in the finished runs below `place`."""
    wrong = 0
    for directory in ended_runs(place).values():
        steps = [one["step"] for one in metrics(directory) if one["kind"] == "step"]
        wrong += len(set(range(1, STEPS + 1)) - set(steps)) + len(steps) - len(set(steps))
    return wrong


@dataclass
class Count:
    """What came of many kills."""

    kills: int = 0
    rounds: int = 0
    touched: list[str] = field(default_factory=list)
    wrong_steps: int = 0
    others: list[str] = field(default_factory=list)
    longest: float = 0.0

    @property
    def good(self) -> bool:
        """Whether nothing was touched, lost, doubled or otherwise different."""
        return not (self.touched or self.wrong_steps or self.others)


class Killing:
    """Kills lives of a line, and keeps count.

    Args:
        arguments: The line.
        folder: For the directories that it works in.
        draw: Says when.
    """

    def __init__(self, arguments: tuple[object, ...], folder: Path, draw: random.Random) -> None:
        self._arguments = arguments
        self._folder = folder
        self._draw = draw
        self.count = Count()
        self.straight = Line(arguments, folder / "straight")
        begun = time.monotonic()
        assert self.straight.begin().wait(600) == 0, self.straight.said
        self.seconds = time.monotonic() - begun
        """How long the line takes that nobody disturbs."""

    def parents(self, kills: int) -> Count:
        """Kill the command at moments from its start to its end, its workers left to themselves, `kills` times."""
        while self.count.kills < kills:
            line, seen = self._round()
            while self.count.kills < kills:
                running = line.begin()
                struck = _sleep(running, self._draw.uniform(0.0, 1.1 * self.seconds)) and line.kill(running)
                if not struck:
                    break
                self.count.kills += 1
                if self._draw.random() < 0.5:  # the same line at once, beside workers that are still saving
                    self.count.touched += seen.look(line.place, settled=False)
                    again = line.begin()
                    self._wait(line, running)
                    line.kill(again)
                    self._wait(line, again)
                else:
                    self._wait(line, running)
                self.count.touched += seen.look(line.place)
            self._end(line, seen)
        return self.count

    def workers(self, kills: int) -> Count:
        """Kill workers at random moments, a run's first one only, since a second one is the run's end."""
        while self.count.kills < kills:
            line, seen = self._round()
            running, killed = line.begin(), set[str]()
            while self.count.kills < kills and _sleep(running, self._draw.uniform(0.0, 0.3 * self.seconds)):
                holders = _holders(line.place)
                victims = [
                    one
                    for one in line.workers(running)
                    # one that has not begun its run may be the second one of a run
                    if (holders.get(one.pid) not in killed if one.pid in holders else not killed)
                ]
                if victims:
                    victim = self._draw.choice(victims)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        victim.kill()
                        self.count.kills += 1
                    killed.add(holders.get(victim.pid, "unknown"))
                    if victim.pid not in holders:
                        break
            assert running.wait(600) == 0, line.said
            assert "giving up" not in line.said
            self._end(line, seen)
        return self.count

    def _round(self) -> tuple[Line, Untouched]:
        self.count.rounds += 1
        return Line(self._arguments, self._folder / f"round{self.count.rounds}"), Untouched()

    def _wait(self, line: Line, running: subprocess.Popen[bytes]) -> None:
        self.count.longest = max(self.count.longest, line.last_of(running))

    def _end(self, line: Line, seen: Untouched) -> None:
        """Let the line come to its end, twice, and compare."""
        for _ in range(2):
            running = line.begin()
            assert running.wait(600) == 0, line.said
            self._wait(line, running)
            self.count.touched += seen.look(line.place)
        self.count.wrong_steps += wrong_steps(line.place)
        self.count.others += differences(line, self.straight)
        line.remove()


def _sleep(running: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for `seconds`; return whether the command has not ended by then."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(seconds)
        return False
    return True


def _holders(place: Path) -> dict[int, str]:
    """Return which run a process has begun and not ended, by the process's id."""
    found = {}
    for claim in place.glob("**/seed*/claim.lock"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            if not (claim.parent / "result.json").exists():
                found[json.loads(claim.read_text())["pid"]] = str(claim.parent.relative_to(place))
    return found
