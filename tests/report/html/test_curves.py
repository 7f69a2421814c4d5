from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from grng.report.html.curve_figures import curve_figure, frame
from grng.report.html.curves import POINTS, curves_of, read_logs, thinned
from grng.report.load import load_experiment
from grng.statistics import mean_interval
from tests.report.factory import make_experiment, make_run, place
from tests.report.html.runs import make_full, write_curves


def test_a_mean_and_its_band_are_those_of_the_seeds(tmp_path: Path) -> None:
    logs = read_logs(load_experiment(make_full(tmp_path)))
    row = curves_of(logs, "train_loss")[1]
    assert row.label == "ring"
    assert row.mean is not None
    assert row.mean.low is not None
    assert row.mean.high is not None
    for at in (0, 10, len(row.mean.values) - 1):
        expected = mean_interval([float(curve.values[at]) for curve in row.seeds.values()])
        found = (row.mean.values[at], row.mean.low[at], row.mean.high[at])
        assert found == pytest.approx((expected.mean, expected.low, expected.high))
    # 27 steps an epoch, 0.1 s a step, seeds begin 0, 1 and 2 s late
    assert row.mean.epochs[-1] == pytest.approx(81 / 27)
    assert row.mean.seconds[-1] == pytest.approx(8.1 + 1)


def test_what_did_not_finish_is_a_line_of_its_own(tmp_path: Path) -> None:
    make_full(tmp_path)
    make_run(tmp_path, "ring", 1, status="diverged", reason="nan", steps=30, final={"test_accuracy": None})
    write_curves(place(tmp_path, "ring", 1), 1, steps=30, rate=0.0)
    row = curves_of(read_logs(load_experiment(tmp_path)), "train_loss")[1]
    assert list(row.seeds) == ["0", "2"]
    assert list(row.others) == ["ring seed 1, diverged"]
    assert row.mean is not None
    assert row.mean.values[-1] == pytest.approx(np.mean([curve.values[-1] for curve in row.seeds.values()]))


def test_torn_and_foreign_lines_are_skipped(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9]})
    good = {"kind": "step", "step": 3, "elapsed_s": 1.0, "train_loss": 0.5}
    bad = [
        "[1, 2]",
        '{"kind": "step", "step": tr',
        '{"step": "x", "train_loss": 1}',
        '{"step": 6, "train_loss": NaN}',
        "\0",
    ]
    path = place(tmp_path, "adamw", 0) / "metrics.jsonl"
    path.write_text("\n".join([*bad, json.dumps(good), '{"kind": "step", "st']))
    logs = read_logs(load_experiment(tmp_path))
    assert dict(logs.rows["adamw"][0].values["train_loss"]) == {3: 0.5}
    assert logs.by_steps, "no line tells how many steps an epoch has"
    assert curves_of(logs, "train_loss")[0].mean is not None


def test_long_curves_are_thinned_to_their_ends(tmp_path: Path) -> None:
    assert thinned(range(10), 20) == list(range(10))
    kept = thinned(range(1, 10_001), POINTS)
    assert (kept[0], kept[-1], len(kept)) == (1, 10_000, POINTS)
    assert max(np.diff(kept)) - min(np.diff(kept)) <= 1
    make_full(tmp_path, ("adamw",), 1, steps=2430, every=1)
    row = curves_of(read_logs(load_experiment(tmp_path)), "train_loss")[0]
    assert row.mean is not None
    assert len(row.mean.values) == POINTS


def test_the_frame_is_that_of_the_runs_that_finished(tmp_path: Path) -> None:
    make_full(tmp_path, seeds=3)
    rows = curves_of(read_logs(load_experiment(tmp_path)), "train_loss")
    assert frame(rows) is None, "everything is seen anyway"
    make_run(tmp_path, "ring", 1, status="diverged", reason="loss_bound", steps=30, final={"test_accuracy": None})
    write_curves(place(tmp_path, "ring", 1), 1, steps=30, rate=-20.0)
    write_curves(place(tmp_path, "reng", 2), 3)  # three seeds, of which one differs: a wide band
    rows = curves_of(read_logs(load_experiment(tmp_path)), "train_loss")
    finished = np.concatenate([curve.values for row in rows for curve in row.seeds.values()])
    assert max(float(curve.values.max()) for row in rows for curve in row.others.values()) > 100
    span = frame(rows)
    assert span is not None
    assert finished.max() < span[1] < finished.max() + (finished.max() - finished.min())
    figure = curve_figure("Training loss", rows, "nats", by_steps=False, text="Lines.")
    assert figure.layout["yaxis"]["range"] == pytest.approx(span, rel=1e-3)
    assert figure.text.startswith("Lines. What goes on beyond the frame")
