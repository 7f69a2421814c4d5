from __future__ import annotations

from pathlib import Path

from grng.report.html.verdict import headline, progress
from grng.report.load import load_experiment
from grng.report.tables import summarise
from tests.report.factory import make_experiment, make_run, write_plan

SEEDS = 8


def test_rows_are_told_by_their_verdict_with_intervals(tmp_path: Path) -> None:
    base = [0.9 + 0.001 * seed for seed in range(SEEDS)]
    noise = [0.002 * (-1) ** seed for seed in range(SEEDS)]
    rows = {
        "adamw": base,
        "ring": [one + 0.02 + 0.5 * other for one, other in zip(base, noise, strict=True)],
        "sgd": [one - 0.03 + 0.5 * other for one, other in zip(base, noise, strict=True)],
        "kfac": [one + other for one, other in zip(base, noise, strict=True)],
        "reng": [one + 0.02 for one in base],
    }
    make_experiment(tmp_path, rows)
    make_run(tmp_path, "reng", 0, status="diverged", reason="nan", final={"test_accuracy": None})
    lines = headline(summarise(load_experiment(tmp_path), margin=0.005))
    assert lines[0].startswith("Better than adamw in test accuracy (n = 8): ring +2.0 points [+1.9, +2.1].")
    assert lines[1].startswith("Worse than adamw in test accuracy (n = 8): sgd -3.0 points [-3.1, -2.9].")
    assert lines[2].startswith(
        "Equivalent to adamw in test accuracy within ±0.5 points (n = 8): kfac 0.0 points [-0.2, +0.2]."
    )
    assert lines[3].startswith("No verdict: reng (1 run of reng diverged).")
    assert lines[4] == "The reference adamw has a test accuracy of 0.904 [0.901, 0.906] over 8 seeds."
    assert lines[5].startswith(
        "To the target of 0.95 validation accuracy, against adamw: ring 1.00 [1.00, 1.00] × the "
    )


def test_too_few_seeds_are_said_beside_an_interval_without_zero(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.91, 0.92], "ring": [0.95, 0.96, 0.971]})
    table = summarise(load_experiment(tmp_path))
    row = table.row("ring")
    assert row.difference_low is not None
    assert row.difference_low > 0
    lines = headline(table)
    assert lines[0].startswith("Not distinguishable from adamw in test accuracy (n = 3): ring +5.0 points [+4.")
    assert lines[1] == (
        "With 3 seeds no difference can be told from chance by the exact test, however large; that takes 6 seeds "
        "(--seeds 6 with the same --output adds them)."
    )


def test_an_interval_without_zero_beside_no_verdict_has_its_reason(tmp_path: Path) -> None:
    # Seven of eight seeds are ahead: the t interval leaves out 0, the exact test of two rows under Holm does not reach 5 %.
    ahead = [0.01, 0.012, 0.011, 0.009, 0.01, 0.013, 0.008, -0.009]
    rows = {"adamw": [0.9] * 8, "ring": [0.9 + one for one in ahead], "sgd": [0.9 + 0.5 * one for one in ahead]}
    make_experiment(tmp_path, rows)
    table = summarise(load_experiment(tmp_path))
    assert all(row.difference_low is not None and row.difference_low > 0 for row in table.rows if not row.is_reference)
    (note,) = (note for note in table.notes if "0 is outside" in note)
    assert note == (
        "not distinguishable, although 0 is outside of the interval: ring, sgd; verdicts are the exact test's, "
        "corrected for 2 comparisons; an interval is of one row alone"
    )
    lines = headline(table)
    assert lines[0].count(" (Holm-adjusted p = 0.062)") == 2
    assert not any("however large" in line for line in lines)


def test_what_it_costs_is_told_where_times_can_be_compared(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9, 0.9], "ring": [0.9, 0.9], "sgd": [0.9, 0.9]})
    for seed in range(2):
        make_run(tmp_path, "ring", seed, time__step_ms=150.0, target={"step": 27, "time_s": 4.05})
        make_run(tmp_path, "sgd", seed, time__step_ms=80.0, target={"step": None, "time_s": None})
    lines = headline(summarise(load_experiment(tmp_path)))
    assert lines[-3] == (
        "To the target of 0.95 validation accuracy, against adamw: "
        "ring 0.50 [0.50, 0.50] × the steps, 0.75 [0.75, 0.75] × the time."
    )
    assert lines[-2] == "Not every run reached the target of 0.95 validation accuracy: sgd in 0 of 2 runs."
    assert lines[-1] == "A step's time against adamw's: sgd 0.80 [0.80, 0.80] ×; ring 1.50 [1.50, 1.50] ×."
    for seed in range(2):
        make_run(tmp_path, "ring", seed, time__shared=True)
    assert (
        headline(summarise(load_experiment(tmp_path)))[-1] == "A step's time against adamw's: sgd 0.80 [0.80, 0.80] ×."
    )


def test_a_reference_without_a_finished_run_is_said(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]})
    make_run(tmp_path, "adamw", 0, status="failed", reason="timeout", steps=0, final={"test_accuracy": None})
    lines = headline(summarise(load_experiment(tmp_path)))
    assert lines[:2] == [
        "No verdict: ring (no finished run of adamw).",
        "No run of the reference adamw has finished.",
    ]


def test_an_experiment_that_is_done_needs_no_word_of_it(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.9]})
    assert progress([load_experiment(tmp_path)]) is None
    write_plan(tmp_path, ["adamw", "ring"], [0, 1], reference="adamw", workers=1)
    assert progress([load_experiment(tmp_path)]) == (
        "This report is of an experiment that is not done: 2 of 4 runs have ended; 2 missing."
    )


def test_of_many_rows_the_first_are_named(tmp_path: Path) -> None:
    make_experiment(tmp_path, {f"row{place}": [0.9 + 0.001 * place] * 2 for place in range(10)})
    table = summarise(load_experiment(tmp_path))
    lines = headline(table)
    assert lines[0].startswith("Not distinguishable from row0 in test accuracy (n = 2 each): row9 +0.9 points [")
    assert lines[0].endswith("row3 +0.3 points [+0.3, +0.3]; and 2 more.")
    assert any(
        note.startswith("intervals without width (row1, row2, row3, row4, row5 and 4 more)") for note in table.notes
    )
