from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from grng.report.load import load_experiment
from grng.report.row import FIELDS, Row
from grng.report.tables import Table, summarise
from grng.statistics import bootstrap_interval
from tests.report.factory import make_experiment, make_run, place, sha, write_plan

EIGHT_UP = [0.95 + k / 1000 for k in range(8)]
EIGHT = [0.90 + k / 2000 for k in range(8)]


def table_of(root: Path, **options: Any) -> Table:
    return summarise(load_experiment(root), **options)


def test_means_and_intervals_are_those_of_the_results(tmp_path: Path) -> None:
    values = [0.97, 0.98, 0.96]
    make_experiment(tmp_path, {"adamw": [0.95, 0.97, 0.955], "ring": values})
    row = table_of(tmp_path).row("ring")
    low, high = scipy.stats.t.interval(0.95, 2, 0.97, scipy.stats.sem(values))
    assert row.test_accuracy == pytest.approx(0.97)
    assert row.test_accuracy_low == pytest.approx(low)
    assert row.test_accuracy_high == pytest.approx(high)
    assert (row.n, row.diverged, row.failed, row.unfinished, row.pairs) == (3, 0, 0, 0, 3)
    assert row.test_loss == pytest.approx(0.15)
    assert row.train_loss == pytest.approx(0.1)
    assert row.val_accuracy == pytest.approx(0.96)
    assert row.val_loss == pytest.approx(0.2)
    assert row.best_val_accuracy == pytest.approx(0.97)
    assert (row.steps, row.step_ms, row.train_time_s, row.total_time_s) == pytest.approx((81, 100, 8.1, 12))
    assert (row.memory_growth_mb, row.memory_peak_mb, row.state_bytes_per_parameter) == pytest.approx((50, 900, 8))
    assert (row.target_runs, row.reached, row.steps_to_target, row.time_to_target) == (3, 3, 54, 5.4)


def test_the_paired_difference_has_interval_p_and_verdict(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.95, 0.97, 0.955], "ring": [0.97, 0.98, 0.96]})
    table = table_of(tmp_path)
    row, reference = table.row("ring"), table.row("adamw")
    differences = [0.02, 0.01, 0.005]
    low, high = scipy.stats.t.interval(0.95, 2, sum(differences) / 3, scipy.stats.sem(differences))
    assert row.difference == pytest.approx(sum(differences) / 3)
    assert (row.difference_low, row.difference_high) == pytest.approx((low, high))
    assert (row.p_value, row.p_adjusted) == (0.25, 0.25)
    assert row.verdict == "not distinguishable with n = 3"
    assert (reference.is_reference, reference.difference, reference.p_value, reference.verdict) == (True, 0.0, None, "")


def test_better_and_worse_need_an_adjusted_p_below_the_level(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": EIGHT, "ring": EIGHT_UP, "sgd": [v - 0.1 for v in EIGHT_UP]})
    table = table_of(tmp_path)
    assert (table.row("ring").verdict, table.row("sgd").verdict) == ("better", "worse")
    assert table.row("ring").p_value == 2 / 256
    assert table.row("ring").p_adjusted == table.row("sgd").p_adjusted == 4 / 256
    assert not any("smallest possible p" in note for note in table.notes)
    seven = {"adamw": EIGHT, **{f"ring{k}": EIGHT_UP for k in range(7)}}
    table = table_of(make_experiment(tmp_path / "seven", seven))
    assert table.row("ring0").p_adjusted == pytest.approx(14 / 256)
    assert {row.verdict for row in table.rows} == {"", "not distinguishable with n = 8"}


def test_what_few_seeds_cannot_show_is_said(tmp_path: Path) -> None:
    labels = ["adamw", "sgd", "kfac", "sophia-g", "ring", "reng", "r-kalman"]
    table = table_of(make_experiment(tmp_path, {label: [0.9, 0.91, 0.92] for label in labels}))
    assert table.notes[-1] == (
        "with 3 seeds the smallest possible p is 0.25: no test can reach 0.05; 8 seeds can (six comparisons, Holm)"
    )


def test_a_diverged_run_is_counted_and_keeps_its_row_from_being_better(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [*EIGHT, 0.9], "ring": [*EIGHT_UP, 0.9]})
    make_run(
        tmp_path, "ring", 8, status="diverged", reason="nan", steps=30, final__test_accuracy=None, target__step=None
    )
    table = table_of(tmp_path)
    row = table.row("ring")
    assert (row.n, row.diverged, row.pairs) == (8, 1, 8)
    assert row.test_accuracy == pytest.approx(sum(EIGHT_UP) / 8)
    assert row.p_adjusted == 2 / 256
    assert row.verdict == "no verdict: 1 run of ring diverged"
    assert (row.reached, row.target_runs) == (8, 9)
    assert row.steps_to_target_ratio is None
    assert any("ring seed 8 (loss not finite at step 30)" in note for note in table.notes)


def test_a_diverged_reference_keeps_others_from_being_worse_and_not_from_being_better(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [*EIGHT, 0.9], "ring": [*EIGHT_UP, 0.9], "sgd": [0.1] * 9})
    make_run(tmp_path, "adamw", 8, status="diverged", reason="loss_bound", final__test_accuracy=None)
    table = table_of(tmp_path)
    assert table.row("ring").verdict == "better"
    assert table.row("sgd").verdict == "no verdict: 1 run of adamw diverged"


def test_a_row_whose_runs_all_diverged_has_no_numbers_and_stays_in_the_table(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.91], "ring": [0.9, 0.9]})
    for seed in range(2):
        make_run(tmp_path, "ring", seed, status="diverged", reason="nan", final__test_accuracy=None, target__step=None)
    row = table_of(tmp_path).row("ring")
    assert (row.n, row.diverged, row.test_accuracy, row.difference, row.p_value) == (0, 2, None, None, None)
    assert (row.steps_to_target, row.time_to_target) == (math.inf, 5.4)
    assert row.verdict == "all diverged"


def test_never_reaching_the_target_is_infinity_in_the_median(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9] * 3, "ring": [0.9] * 3})
    never: dict[str, Any] = {"target__step": None, "target__time_s": None}
    make_run(tmp_path, "ring", 1, **never)
    row = table_of(tmp_path).row("ring")
    assert (row.reached, row.target_runs, row.steps_to_target, row.time_to_target) == (2, 3, 54, 5.4)
    make_run(tmp_path, "ring", 2, **never)
    row = table_of(tmp_path).row("ring")
    assert (row.reached, row.steps_to_target, row.time_to_target) == (1, math.inf, math.inf)
    assert (row.steps_to_target_ratio, row.time_to_target_ratio) == (None, None)


def test_ratios_are_paired_by_seed_on_the_log_scale(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9] * 3, "ring": [0.9] * 3})
    for seed, (slow, factor) in enumerate([(100.0, 1.18), (200.0, 1.2), (50.0, 1.22)]):
        make_run(tmp_path, "adamw", seed, time__step_ms=slow, target={"step": 60, "time_s": 6.0})
        make_run(tmp_path, "ring", seed, time__step_ms=slow * factor, target={"step": 30, "time_s": 6.0 * factor})
    table = table_of(tmp_path)
    row = table.row("ring")
    expected = (1.18 * 1.2 * 1.22) ** (1 / 3)
    assert row.step_ratio == pytest.approx(expected)
    assert row.step_ratio_low is not None
    assert row.step_ratio_high is not None
    assert 1 < row.step_ratio_low < expected < row.step_ratio_high
    assert (row.steps_to_target_ratio, row.time_to_target_ratio) == pytest.approx((0.5, expected))
    assert table.row("adamw").step_ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pairing__init_sha256": "x"}, "different initial weights"),
        ({"pairing__batches_sha256": "x"}, "different batches"),
        ({"pairing__init_sha256": None}, "initial weights not recorded"),
    ],
)
def test_a_pair_that_is_none_is_left_out_aloud(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.9, 0.9], "ring": [0.91, 0.93, 0.99]})
    make_run(tmp_path, "ring", 2, final__test_accuracy=0.99, **changes)
    table = table_of(tmp_path)
    row = table.row("ring")
    assert row.n == 3
    assert row.pairs == 2
    assert row.difference == pytest.approx(0.02)
    assert f"NOT A FAIR PAIR: ring and adamw with seed 2: {reason}; left out of differences, tests and ratios" in (
        table.warnings
    )


def test_runs_of_different_lengths_are_paired_over_their_common_prefix(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.9], "ring": [0.92, 0.92]})
    for seed in range(2):
        make_run(tmp_path, "ring", seed, epochs=None, steps=60, final__test_accuracy=0.92)
    table = table_of(tmp_path)
    assert table.row("ring").pairs == 2
    assert not any("NOT A FAIR PAIR" in warning for warning in table.warnings)
    assert "steps per run differ: adamw 81, ring 60" in table.notes
    make_run(tmp_path, "ring", 1, epochs=None, steps=60, final__test_accuracy=0.92, data_seed=9)
    table = table_of(tmp_path)
    assert table.row("ring").pairs == 1
    assert any("with seed 1: different batches" in warning for warning in table.warnings)


def test_batches_that_cannot_be_compared_are_no_proof(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.92]})
    make_run(tmp_path, "ring", 0, epochs=None, steps=10, pairing__batches_sha256=sha("batches", 0, 10))
    table = table_of(tmp_path)
    assert table.row("ring").verdict == "no pair to compare"
    assert any("no common step at which the batches can be compared" in warning for warning in table.warnings)


def test_shared_times_are_marked_and_stay_out_of_time_to_target(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.9], "ring": [0.9, 0.9]})
    for seed in range(2):
        make_run(tmp_path, "ring", seed, time__shared=True)
    table = table_of(tmp_path)
    row = table.row("ring")
    assert row.time_mark == "with cores or device shared with other runs"
    assert (row.time_to_target, row.time_to_target_ratio, row.steps_to_target) == (None, None, 54)
    assert row.steps_to_target_ratio == pytest.approx(1.0)
    assert table.row("adamw").time_mark == ""
    assert any("times marked * are not comparable: ring ran with cores" in warning for warning in table.warnings)
    asked = table_of(tmp_path, include_shared_times=True)
    assert asked.row("ring").time_to_target == 5.4
    assert asked.row("ring").time_to_target_ratio == pytest.approx(1.0)
    assert any("do not count in time to target" in note for note in table.notes)
    assert not any("do not count in time to target" in note for note in asked.notes)


@pytest.mark.parametrize("change", [{"environment__threads": 2}, {"environment__device_name": "Another CPU"}])
def test_times_of_another_device_or_number_of_threads_are_marked(tmp_path: Path, change: dict[str, Any]) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.9], "ring": [0.9, 0.9], "sgd": [0.9, 0.9]})
    make_run(tmp_path, "ring", 0, **change)
    for seed in range(2):
        make_run(tmp_path, "sgd", seed, **change)
    table = table_of(tmp_path)
    assert table.row("ring").time_mark == "on several devices or numbers of threads"
    assert table.row("sgd").time_mark == "on another device or number of threads than the reference"
    assert len(table.machines) == 2


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"environment__torch": "2.10"},
            "results of different versions of torch are mixed: 2.9.0 (1 run), 2.10 (1 run)",
        ),
        ({"environment__grng": "0.2"}, "results of different versions of grng are mixed: 0.1.0 (1 run), 0.2 (1 run)"),
        ({"target__accuracy": 0.9}, "results of different targets are mixed: 0.95 (1 run), 0.9 (1 run)"),
        ({"batch_size": 64}, "results of different batch sizes are mixed: 128 (1 run), 64 (1 run)"),
        ({"epochs": 5}, "results of different numbers of epochs are mixed: 3 (1 run), 5 (1 run)"),
    ],
)
def test_what_is_mixed_is_said(tmp_path: Path, changes: dict[str, Any], warning: str) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]})
    make_run(tmp_path, "ring", 0, **changes)
    assert warning in table_of(tmp_path).warnings


def test_runs_that_are_not_there_are_counted_and_named(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9] * 5, "ring": [0.9] * 5})
    make_run(tmp_path, "ring", 1, status="failed", reason="oom")
    make_run(tmp_path, "ring", 2, status="interrupted", reason="signal")
    (place(tmp_path, "ring", 3) / "result.json").write_text("{")
    write_plan(tmp_path, ["adamw", "ring"], range(6), reference="adamw")
    table = table_of(tmp_path)
    row = table.row("ring")
    assert (row.n, row.failed, row.unfinished, row.diverged) == (2, 1, 3, 0)
    assert "1 run of 12 failed: ring seed 1 (oom)" in table.warnings
    assert (
        "3 runs of 12 are not finished: adamw seed 5 (missing), ring seed 2 (interrupted), ring seed 5 (missing)"
        in (table.warnings)
    )
    assert any(warning.startswith("1 result of 12 cannot be read: ") for warning in table.warnings)


def test_a_row_with_a_failed_run_is_not_called_better(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [*EIGHT, 0.9], "ring": [*EIGHT_UP, 0.9]})
    make_run(tmp_path, "ring", 8, status="failed", reason="crash")
    assert table_of(tmp_path).row("ring").verdict == "no verdict: 1 run of ring failed"


def test_without_any_result_every_number_is_missing(tmp_path: Path) -> None:
    write_plan(tmp_path, ["ring", "adamw"], [0, 1])
    table = table_of(tmp_path)
    assert (table.model, table.dataset, table.target, table.machines) == (None, None, None, ())
    assert [row.verdict for row in table.rows] == ["no run finished", ""]
    assert [row.unfinished for row in table.rows] == [2, 2]
    numbers = [{**row.numbers, "unfinished": 0} for row in table.rows]
    assert all(value is None or value == 0 for row in numbers for value in row.values())


def test_one_seed_and_one_run_have_no_interval(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.92]})
    row = table_of(tmp_path).row("ring")
    assert (row.test_accuracy, row.test_accuracy_low, row.p_value) == (0.92, None, 1.0)
    assert row.verdict == "not distinguishable with n = 1"
    alone = table_of(place(tmp_path, "ring", 0))
    assert alone.reference == "ring"
    assert alone.rows[0].test_accuracy == 0.92
    assert not any("smallest possible p" in note for note in alone.notes)


def test_every_number_of_a_row_is_a_documented_field() -> None:
    assert set(Row("x").numbers) == set(FIELDS)
    assert all(info.meaning and info.name == name for name, info in FIELDS.items())
    wanted = """test_accuracy test_accuracy_low test_accuracy_high test_loss train_loss val_accuracy steps_to_target
        time_to_target step_ms step_ratio memory_growth_mb state_bytes_per_parameter n diverged failed difference
        p_value p_adjusted train_time_s"""
    assert set(wanted.split()) <= set(FIELDS)


def test_hundreds_of_rows_are_no_trouble(tmp_path: Path) -> None:
    make_experiment(tmp_path, {f"ring[rho={k}]": [0.9, 0.9 + k / 1e4] for k in range(200)})
    table = table_of(tmp_path)
    assert len(table.rows) == 200
    assert all(len(warning) < 1000 for warning in (*table.warnings, *table.notes))


def test_rows_within_the_margin_are_equivalent_and_not_merely_undecided(tmp_path: Path) -> None:
    noise = [0.002, -0.001, -0.002, 0.001, 0.0005]
    close, far = [0.95 + d for d in noise], [0.95 + 20 * d for d in noise]
    make_experiment(tmp_path, {"adamw": [0.95] * 5, "ring": close, "sgd": far})
    plain, table = table_of(tmp_path), table_of(tmp_path, margin=0.005)
    assert plain.row("ring").verdict == table.row("sgd").verdict == "not distinguishable with n = 5"
    assert table.row("ring").verdict == "equivalent within ±0.5 points"
    assert plain.row("ring").p_equivalence is None
    expected = [
        max(
            scipy.stats.ttest_rel(v, [0.95 + m] * 5, alternative=a).pvalue
            for m, a in ((-0.005, "greater"), (0.005, "less"))
        )
        for v in (close, far)
    ]
    assert [table.row(label).p_equivalence for label in ("ring", "sgd")] == pytest.approx(expected)
    assert table.row("ring").p_equivalence_adjusted == pytest.approx(min(1, 2 * expected[0])), "Holm over both rows"
    assert table.row("ring").win_share == 0.6
    make_run(tmp_path, "ring", 4, status="diverged", reason="nan", final__test_accuracy=None)
    assert table_of(tmp_path, margin=0.01).row("ring").verdict == "no verdict: 1 run of ring diverged"


def test_bootstrap_intervals_from_twenty_seeds_on(tmp_path: Path) -> None:
    ring, adamw = [0.9 + (k % 7) ** 2 / 1000 for k in range(20)], [0.9 + (k % 3) / 1000 for k in range(20)]
    make_experiment(tmp_path, {"adamw": adamw, "ring": ring})
    row, plain = table_of(tmp_path, interval="bootstrap").row("ring"), table_of(tmp_path).row("ring")
    differences = [a - b for a, b in zip(ring, adamw, strict=True)]
    made, scores = bootstrap_interval(differences), bootstrap_interval(ring)
    assert (row.difference_low, row.difference_high) == pytest.approx((made.low, made.high)) != (plain.difference_low,)
    assert (row.test_accuracy_low, row.test_accuracy_high) == (scores.low, scores.high)
    assert row.p_value == plain.p_value
    notes = table_of(tmp_path, interval="bootstrap").notes
    assert any(note.startswith("intervals: 95 % bootstrap (BCa) over seeds") for note in notes)
    make_experiment(tmp_path / "few", {"adamw": adamw[:3], "ring": ring[:3]})
    few, t = table_of(tmp_path / "few", interval="bootstrap"), table_of(tmp_path / "few")
    assert few.rows == t.rows
    assert any("a bootstrap takes 20 seeds" in note for note in few.notes)


def test_a_run_that_does_not_say_where_it_was_makes_no_times_incomparable(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.9], "ring": [0.9, 0.9]})
    nowhere = dict.fromkeys(("grng", "torch", "device", "device_name", "threads"))
    for label in ("adamw", "ring"):
        make_run(tmp_path, label, 1, status="failed", reason="timeout", environment=nowhere)
    table = summarise(load_experiment(tmp_path))
    assert [row.time_mark for row in table.rows] == ["", ""]
    make_run(tmp_path, "ring", 1, environment__threads=4)
    assert summarise(load_experiment(tmp_path)).row("ring").time_mark == "on several devices or numbers of threads"
