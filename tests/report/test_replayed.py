"""A run and its replay: what counts as the same, in how many digits, and what is said of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grng.report.replayed import Replayed, agreeing_digits, compare_runs
from grng_cli.summaries.replay import verdict
from tests.report.factory import make_result

CODE = "0123456789abcdef"
LINES: list[dict[str, Any]] = [
    {"kind": "step", "step": 1, "epoch": 1, "elapsed_s": 0.5, "train_loss": 2.302585, "lr": 0.1},
    {"kind": "step", "step": 2, "epoch": 1, "elapsed_s": 0.9, "train_loss": 2.0, "optimizer/norm": 3.0},
    {
        "kind": "epoch",
        "step": 2,
        "epoch": 1,
        "elapsed_s": 0.9,
        "train_loss": 2.1,
        "val_accuracy": 0.5,
        "val_loss": None,
    },
]


def pair(
    tmp_path: Path, lines: list[dict[str, Any]] | None = None, *, original: Any = None, **changes: Any
) -> Replayed:
    """Compare a run with a replay of other `lines` or with other results."""
    for name, content, result in (("a", LINES, {} if original is None else original), ("b", lines or LINES, changes)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
        if result is not False:
            make_result("ring", 3, **{"environment__code": CODE, **result}).save(tmp_path / name / "result.json")
    return compare_runs(tmp_path / "a", tmp_path / "b")


def changed(index: int, **values: Any) -> list[dict[str, Any]]:
    return [{**line, **values} if at == index else line for at, line in enumerate(LINES)]


def test_the_clock_does_not_count(tmp_path: Path) -> None:
    found = pair(tmp_path, changed(1, elapsed_s=77.0))
    assert (found.identical, found.agrees, found.exit_code, found.lines) == (True, True, 0, 3)
    assert (found.first, found.changes, found.reasons) == (None, (), ())
    assert verdict(found) == "equal bit for bit (3 lines of metrics and all scores)"


@pytest.mark.parametrize(
    ("lines", "key", "step", "digits"),
    [
        (changed(0, train_loss=math.nextafter(2.302585, 3)), "train_loss", 1, 15),
        (changed(1, **{"optimizer/norm": 3.0003}), "optimizer/norm", 2, 4),
        (changed(2, val_loss=1.0), "val_loss", 2, 0),
        (changed(2, batches_sha256="x"), "batches_sha256", 2, 0),
    ],
)
def test_the_first_difference_is_found(
    tmp_path: Path, lines: list[dict[str, Any]], key: str, step: int, digits: int
) -> None:
    found = pair(tmp_path, lines)
    assert not found.identical
    assert found.first is not None
    assert (found.first.key, found.first.step, found.first.digits) == (key, step, digits)
    assert found.exit_code == 0, "the scores are the same"
    assert verdict(found) == "equal in the digits that tables show, not in all"
    assert "report it" in found.reasons[0]


def test_scores_that_differ_in_what_tables_show_are_an_error_where_nothing_else_changed(tmp_path: Path) -> None:
    found = pair(tmp_path, final__test_accuracy=0.94)
    assert (found.agrees, found.exit_code) == (False, 1)
    assert verdict(found).startswith(
        "DIFFERENT in the digits that tables show; code, versions and machine are the same"
    )


@pytest.mark.parametrize(
    ("accuracy", "loss", "agrees"), [(0.9504, 0.15, True), (0.951, 0.15, False), (0.95, 0.1501, False)]
)
def test_what_tables_show_is_three_decimals_and_four_digits(
    tmp_path: Path, accuracy: float, loss: float, agrees: bool
) -> None:
    assert pair(tmp_path, final={"test_accuracy": accuracy, "test_loss": loss}).agrees is agrees


def test_other_versions_explain_a_difference(tmp_path: Path) -> None:
    found = pair(tmp_path, final__test_loss=0.2, environment__torch="2.10.0", environment__threads=4)
    assert found.exit_code == 0
    assert {change.name: (change.original, change.replay) for change in found.changes} == {
        "torch": ("2.9.0", "2.10.0"),
        "threads": ("1", "4"),
    }
    assert "code, versions or machine are not the same" in verdict(found)


def test_other_code_of_the_same_version_explains_a_difference(tmp_path: Path) -> None:
    found = pair(tmp_path, final__test_loss=0.2, environment__code="fedcba9876543210")
    (change,) = found.changes
    assert (change.name, change.original, change.replay) == ("code", CODE, "fedcba9876543210")
    assert (found.exit_code, found.reasons) == (0, ())


def test_a_run_from_before_its_code_was_noted_may_be_of_any(tmp_path: Path) -> None:
    found = pair(tmp_path, original={"environment__code": None}, final__test_loss=0.2)
    assert (found.changes, found.exit_code) == ((), 1)
    assert "does not say which code" in found.reasons[0]


def test_other_weights_and_batches_are_told(tmp_path: Path) -> None:
    found = pair(tmp_path, final__test_loss=0.2, pairing={"init_sha256": "x", "batches_sha256": "y"})
    assert [reason.split()[1] for reason in found.reasons] == ["initial", "batches"]
    assert [sum(reason.count(word) for reason in found.reasons) for word in ("weights", "order")] == [1, 1]


def test_an_original_that_was_not_finished_is_compared_as_far_as_it_got(tmp_path: Path) -> None:
    longer = [*LINES, {"kind": "step", "step": 3, "train_loss": 1.0}]
    found = pair(tmp_path, longer, original=False)
    assert (found.complete, found.identical, found.lines, found.missing, found.scores) == (False, True, 3, 0, ())
    assert verdict(found) == "equal bit for bit (3 lines of metrics, as far as the original got)"


def test_lines_of_one_alone_count(tmp_path: Path) -> None:
    found = pair(tmp_path, LINES[:2])
    assert (found.identical, found.missing) == (False, 1)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 1e6), st.integers(1, 12))
def test_digits_are_counted_as_one_counts_them(value: float, digits: int) -> None:
    assert agreeing_digits(value, value) is None
    assert agreeing_digits(value, value * (1 + 0.5 * 10.0**-digits)) == digits
    assert agreeing_digits(value, None) == agreeing_digits(value, -value) == 0
    json.dumps(agreeing_digits(value, math.inf))
