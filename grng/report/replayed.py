"""A run against the same run done again: which numbers are the same, in how many digits, and why they may not be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grng.report.metric_lines import metric_lines
from grng.report.reading import RESULT
from grng.runs.result import Environment, RunResult

UNTIMED = frozenset({"elapsed_s"})
"""What a line of metrics says of the clock."""

SHOWN_ACCURACY, SHOWN_LOSS = 0.0005, 0.0005
"""Half a unit of the last digit that tables show: three decimals of an accuracy, four digits of a loss (relative)."""

_WHY: Mapping[str, str] = {
    "grng": "another version of grng: CHANGELOG.md says where it computes something else",
    "code": "other code of grng: its source files are not those that the run was made with",
    "torch": "another torch: its kernels may add in another order, and its initialisation may draw other numbers",
    "timm": "another timm: its layers and their initialisation may have changed",
    "python": "another Python, and with it perhaps other builds of the libraries",
    "platform": "another operating system or other system libraries",
    "device": "another device: its kernels add in another order",
    "device_name": "another processor or GPU: kernels are chosen by what it can do",
    "threads": "another number of threads: sums are split among them",
}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was not the same for the two runs; `why` is what it may do to the numbers."""

    name: str
    original: str | None
    replay: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Difference:
    """The first number that differs: a line's kind and step, its key, both values, and the digits that agree."""

    kind: str
    step: int
    key: str
    original: float | str | None
    replay: float | str | None
    digits: int | None


@dataclass(frozen=True, slots=True)
class Score:
    """A number of `result.json`: `digits` is how many significant ones agree, None where all do."""

    name: str
    original: float | None
    replay: float | None
    digits: int | None
    as_shown: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of doing a run again.

    Attributes:
        original: Directory of the run.
        replay: Directory of the one that was done again.
        label: The row that they are of.
        seed: Their seed.
        lines: How many lines of metrics both have.
        missing: How many lines one of them has alone.
        first: The first difference between lines; None where there is none.
        scores: Of the results; empty where the original has none.
        changes: What was not the same around them.
        reasons: Why numbers that differ may do so, beside the changes; sentences.
        complete: Whether the original had ended.
    """

    original: Path
    replay: Path
    label: str
    seed: int
    lines: int
    missing: int
    first: Difference | None
    scores: tuple[Score, ...]
    changes: tuple[Change, ...]
    reasons: tuple[str, ...]
    complete: bool

    @property
    def identical(self) -> bool:
        """Whether every number is the same bit for bit, clock readings aside."""
        return self.first is None and not self.missing and all(score.digits is None for score in self.scores)

    @property
    def agrees(self) -> bool:
        """Whether the scores are the same in the digits that tables show; without scores, whether the lines are."""
        return all(score.as_shown for score in self.scores) if self.scores else self.first is None

    @property
    def exit_code(self) -> int:
        """1 where what matters differs although nothing around the runs does, else 0."""
        return 0 if self.identical or self.agrees or self.changes else 1

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self) | {"original": str(self.original), "replay": str(self.replay)}
        return values | {"identical": self.identical, "agrees": self.agrees}


def compare_runs(original: Path, replay: Path) -> Replayed:
    """Compare two directories of the same run.

    Raises:
        RunDirectoryError: A `result.json` is damaged, or the replay has none.
    """
    again = RunResult.load(replay / RESULT)
    before = RunResult.load(original / RESULT) if (original / RESULT).is_file() else None
    complete = before is not None and before.status != "interrupted"
    lines, others = read_lines(original), read_lines(replay)
    common = [key for key in lines if key in others]
    missing = len(set(lines) - set(others)) + (len(set(others) - set(lines)) if complete else 0)
    first = next(filter(None, (_difference(key, lines[key], others[key]) for key in common)), None)
    scores = _scores(before, again) if before is not None and complete else ()
    changes = _changes(before.environment, again.environment) if before else ()
    if before is not None and before.world_size != again.world_size:
        why = "another number of processes: gradients are summed over them"
        changes = (*changes, Change("processes", str(before.world_size), str(again.world_size), why))
    differs = first is not None or any(score.digits is not None for score in scores)
    reasons = _reasons(before, again, changes) if differs else ()
    return Replayed(
        original,
        replay,
        again.label,
        again.seed,
        len(common),
        missing,
        first,
        scores,
        changes,
        tuple(reasons),
        complete,
    )


def read_lines(directory: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """Return the lines of `metrics.jsonl` by step and kind, without the clock; torn ones are left out."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for step, line in metric_lines(directory):
        found[step, str(line.get("kind"))] = {key: value for key, value in line.items() if key not in UNTIMED}
    return found


def agreeing_digits(a: object, b: object) -> int | None:
    """Return how many significant digits of two numbers agree; None where they are equal, 0 where nothing does."""
    if a == b:
        return None
    if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
        return 0
    distance = abs(a - b) / max(abs(a), abs(b))
    return max(0, math.floor(-math.log10(distance))) if math.isfinite(distance) else 0


def _difference(key: tuple[int, str], line: dict[str, Any], other: dict[str, Any]) -> Difference | None:
    for name in [*line, *(name for name in other if name not in line)]:
        a, b = line.get(name), other.get(name)
        if a != b:
            return Difference(key[1], key[0], name, a, b, agreeing_digits(a, b))
    return None


def _scores(before: RunResult, again: RunResult) -> tuple[Score, ...]:
    values: dict[str, tuple[float | None, float | None]] = {
        f"final.{name}": (getattr(before.final, name), getattr(again.final, name))
        for name in type(before.final).model_fields
    }
    values["best.val_accuracy"] = (before.best.val_accuracy, again.best.val_accuracy)
    values["target.step"] = (before.target.step, again.target.step)
    values["steps"] = (before.steps, again.steps)
    return tuple(
        Score(name, a, b, agreeing_digits(a, b), _as_shown(name, a, b))
        for name, (a, b) in values.items()
        if a is not None or b is not None
    )


def _as_shown(name: str, a: float | None, b: float | None) -> bool:
    if a is None or b is None or name in ("target.step", "steps"):
        return a == b
    if name.endswith("accuracy"):
        return abs(a - b) <= SHOWN_ACCURACY
    return abs(a - b) <= SHOWN_LOSS * max(abs(a), abs(b))


def _changes(before: Environment, again: Environment) -> tuple[Change, ...]:
    return tuple(
        Change(name, _text(getattr(before, name)), _text(getattr(again, name)), why)
        for name, why in _WHY.items()
        if getattr(before, name) != getattr(again, name) and not (name == "code" and before.code is None)
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _reasons(before: RunResult | None, again: RunResult, changes: tuple[Change, ...]) -> list[str]:
    reasons = []
    if before is not None:
        if before.pairing.init_sha256 != again.pairing.init_sha256:
            reasons.append("The initial weights are not the same: the model or its initialisation has changed.")
        if before.steps == again.steps and before.pairing.batches_sha256 != again.pairing.batches_sha256:
            reasons.append("The batches are not the same: the data set or the order of its samples has changed.")
        if before.data.sha256 != again.data.sha256:
            reasons.append("The pictures are not the same: some came, went, or were given another class.")
    if not (again.environment.device or "cpu").startswith("cpu"):
        reasons.append("A GPU adds in no fixed order, so that the last digits differ from run to run.")
    if not reasons and not changes:
        reasons.append(_unexplained(before))
    return reasons


def _unexplained(before: RunResult | None) -> str:
    if before is None:
        return "The original did not get as far as to say where it ran."
    if before.environment.code is None:
        return "The original does not say which code of its version of grng it ran: it may have been other code."
    return "Nothing that is known to change numbers has changed: report it, with what `grng env` prints."
