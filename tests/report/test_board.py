"""What TensorBoard is given of an experiment: read back from the files, and from a TensorBoard that runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from grng.report.board import FOLDER, write_board
from grng.report.load import load_experiment
from grng.report.over_seeds import RowCurves
from grng.report.run_curves import RunCurves, read_run_curves
from grng.runs.identity import directory_name
from tests.report.factory import make_run, place, write_plan

EPOCH = 4
LABELS = ("adamw", "ring[rho=0.1]")


def curve(label: str, seed: int, step: int) -> dict[str, Any]:
    """Return a line of metrics that is another one for each label, seed and step."""
    at = 1.0 / step + 0.1 * seed + 0.01 * LABELS.index(label)
    line: dict[str, Any] = {"kind": "step", "step": step, "epoch": 1 + (step - 1) // EPOCH, "elapsed_s": step / 2}
    line |= {"train_loss": at}
    if step % EPOCH == 0:
        line |= {"kind": "epoch", "val_loss": 2 * at, "val_accuracy": 1 - at / 4, "batches_sha256": "0" * 64}
    return line


def write_metrics(directory: Path, lines: list[dict[str, Any]]) -> None:
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def experiment(root: Path, *, seeds: int = 3, steps: int = 8) -> Path:
    """Write a finished experiment whose runs have event files."""
    write_plan(root, LABELS, range(seeds), reference="adamw", workers=1)
    for label in LABELS:
        for seed in range(seeds):
            directory = make_run(root, label, seed, final={"test_accuracy": 0.9 + seed / 100})
            write_metrics(directory, [curve(label, seed, step) for step in range(1, steps + 1)])
            (directory / "events.out.tfevents.0000000001.host.1.grng").touch()
    return root


def board(directory: Path) -> Any:
    reader = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    return reader


def scalars(reader: Any, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in reader.Scalars(tag)}


def test_the_curves_are_mean_and_interval_over_the_seeds(tmp_path: Path) -> None:
    root = experiment(tmp_path)
    assert write_board(root) == root / FOLDER
    for label in LABELS:
        reader = board(root / FOLDER / directory_name(label))
        for tag, key, steps in [("eval/accuracy", "val_accuracy", (4, 8)), ("train/loss", "train_loss", (1, 2, 3, 5))]:
            mean, low, high = (scalars(reader, f"{tag}{end}") for end in ("", "_low", "_high"))
            for step in steps:
                values = [curve(label, seed, step)[key] for seed in range(3)]
                expected = scipy.stats.t.interval(0.95, 2, loc=np.mean(values), scale=scipy.stats.sem(values))
                assert (low[step], mean[step], high[step]) == pytest.approx(
                    (expected[0], np.mean(values), expected[1]), rel=1e-6
                )
                assert scalars(reader, f"{tag}_seeds")[step] == 3
        assert set(scalars(reader, "train/epoch_loss")) == {4, 8}
        first, last = reader.Scalars("train/loss")[0], reader.Scalars("train/loss")[-1]
        assert last.wall_time - first.wall_time == pytest.approx(3.0), "relative time is the training clock's"


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    root = experiment(tmp_path, seeds=1)
    write_board(root)
    tags = board(root / FOLDER / "adamw").Tags()["scalars"]
    assert "eval/accuracy" in tags
    assert not [tag for tag in tags if tag.endswith(("_low", "_high"))]


def test_layout_and_verdict(tmp_path: Path) -> None:
    root = experiment(tmp_path)
    write_board(root)
    reader = board(root / FOLDER)
    (event,) = reader.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    (category,) = layout.category
    assert category.title == "test_resnet on mnist5k"
    margin = next(chart for chart in category.chart if chart.HasField("margin"))
    (series,) = margin.margin.series
    written = board(root / FOLDER / "adamw").Tags()["scalars"]
    assert {series.value, series.lower, series.upper} <= set(written)
    (event,) = reader.Tensors("verdict")
    text = event.tensor_proto.string_val[0].decode()
    assert "| ring[rho=0.1] |" in text.replace("\\", "")
    assert "not distinguishable with n = 3" in text


def test_it_is_written_again_only_when_something_changed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    root = experiment(tmp_path)
    write_board(root)
    before = {path: path.stat().st_mtime_ns for path in (root / FOLDER).rglob("*")}
    write_board(root)
    assert {path: path.stat().st_mtime_ns for path in (root / FOLDER).rglob("*")} == before
    write_plan(root, ["adamw"], range(3), reference="adamw", workers=1)
    write_board(root)
    now = sorted(path.relative_to(root / FOLDER).parts[0] for path in (root / FOLDER).rglob("*"))
    assert len(now) == 3, "an overview, and of one row a folder with a file"
    assert now[:2] == ["adamw", "adamw"]
    assert scalars(board(root / FOLDER / "adamw"), "eval/accuracy").keys() == {4, 8}


def test_nothing_takes_it_for_a_run(tmp_path: Path) -> None:
    root = experiment(tmp_path)
    before = load_experiment(root)
    write_board(root)
    assert load_experiment(root) == before


@pytest.mark.parametrize("label", ["@summary", "summary", "Summary", "@SUMMARY"])
def test_no_label_has_its_place(label: str) -> None:
    assert directory_name(label) != FOLDER


def test_without_event_files_it_is_not_written_unasked(tmp_path: Path) -> None:
    make_run(tmp_path, "adamw", 0)
    write_plan(tmp_path, ["adamw"], [0])
    assert write_board(tmp_path) is None
    assert not (tmp_path / FOLDER).exists()
    assert write_board(tmp_path, force=True) == tmp_path / FOLDER


def test_an_unfinished_experiment_is_written_as_far_as_it_is(tmp_path: Path) -> None:
    root = experiment(tmp_path)
    unfinished = place(root, "adamw", 2)
    (unfinished / "result.json").unlink()
    write_metrics(unfinished, [curve("adamw", 2, step) for step in range(1, 5)])
    with (unfinished / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "st')
    write_board(root)
    seeds = scalars(board(root / FOLDER / "adamw"), "eval/accuracy_seeds")
    assert seeds == {4: 3, 8: 2}


def runs(*ends: int) -> tuple[RunCurves, ...]:
    return tuple(
        RunCurves({"val_loss": dict.fromkeys(range(1, end + 1), 1.0)}, dict.fromkeys(range(1, end + 1), 0.0))
        for end in ends
    )


def test_a_mean_ends_where_a_run_diverged() -> None:
    kept = RowCurves("x", runs(5, 3), (False, False)).over_seeds("val_loss")
    assert [(point.step, point.seeds) for point in kept] == [(1, 2), (2, 2), (3, 2), (4, 1), (5, 1)]
    ended = RowCurves("x", runs(5, 3), (False, True)).over_seeds("val_loss")
    assert [point.step for point in ended] == [1, 2, 3]
    no_number = RunCurves({"val_loss": {1: 1.0, 2: float("nan")}}, {1: 0.0, 2: 0.0})
    assert [point.step for point in RowCurves("x", (*runs(4), no_number), (False, True)).over_seeds("val_loss")] == [1]


def test_curves_of_odd_files_are_what_can_be_read(tmp_path: Path) -> None:
    assert read_run_curves(tmp_path).last_step == 0
    (tmp_path / "metrics.jsonl").write_bytes(
        b'[1]\n\xff\n{"step": true, "train_loss": 1}\n{"step": 3, "kind": "step", "train_loss": "x", "val_loss": null}\n'
        b'{"step": 4, "kind": "epoch", "epoch": 1, "elapsed_s": 2, "train_loss": 1}\n{"step": 6, "kind": "epoch", "epoch": 2}'
    )
    curves = read_run_curves(tmp_path)
    assert np.isnan(curves.values["train_loss"][3])
    assert curves.values["epoch_loss"] == {4: 1.0}
    assert (curves.steps_per_epoch, curves.last_step, curves.elapsed_s[4]) == (4, 6, 2.0)


@contextmanager
def tensorboard(logdir: Path) -> Iterator[str]:
    """Start the real TensorBoard on a free port of the loopback, and return its address."""
    log = logdir.parent / "tensorboard.log"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0", "--host", "127.0.0.1"]
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            found = [word for word in log.read_text().split() if word.startswith("http://127.0.0.1:")]
            if found:
                yield found[0].rstrip("/")
                return
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        raise AssertionError(log.read_text())
    finally:
        server.kill()
        server.wait()


def get(address: str, path: str, **query: str) -> Any:
    url = f"{address}/data/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_started_tensorboard_shows_runs_tags_scalars_and_scores(tmp_path: Path) -> None:
    from grng.experiments.compare import compare
    from grng.experiments.compare_config import CompareConfig

    root = tmp_path / "experiment"
    values: dict[str, Any] = {
        "optimizers": ["sgd", "ring"],
        "seeds": [0, 1],
        "model": {"name": "test_vit"},
        "dataset": {"name": "digits", "img_size": 32},
        "training": {"steps": 4, "batch_size": 16, "eval_every": 2},
        "logging": {"log_every": 1},
        "workers": 0,
        "output": str(root),
    }
    results = dict(enumerate(compare(CompareConfig.model_validate(values)).results))
    write_board(root)
    single = {f"{label}/seed{seed}" for label in ("sgd", "ring") for seed in (0, 1)}
    summaries = {FOLDER, f"{FOLDER}/sgd", f"{FOLDER}/ring"}
    with tensorboard(root) as address:
        for _ in range(100):  # it reads the files in a thread of its own
            if set(get(address, "runs")) == single | summaries:
                break
            time.sleep(0.1)
        assert set(get(address, "runs")) == single | summaries
        tags = get(address, "plugin/scalars/tags")
        assert {"eval/accuracy", "eval/accuracy_low", "eval/accuracy_high", "train/loss"} <= set(tags[f"{FOLDER}/ring"])
        shown = {
            run: {step: value for _, step, value in get(address, "plugin/scalars/scalars", run=run, tag="train/loss")}
            for run in ("ring/seed0", "ring/seed1", f"{FOLDER}/ring")
        }
        for step in (1, 2, 3, 4):
            mean = (shown["ring/seed0"][step] + shown["ring/seed1"][step]) / 2
            assert shown[f"{FOLDER}/ring"][step] == pytest.approx(mean, rel=1e-6)
        layout = get(address, "plugin/custom_scalars/layout")
        assert [category["title"] for category in layout["category"]] == ["test_vit on digits"]
        assert get(address, "plugin/text/tags")[FOLDER] == ["verdict"]
        (text,) = get(address, "plugin/text/text", run=FOLDER, tag="verdict")
        assert "<table>" in text["text"]
        asked = {"startIndex": 0, "sliceSize": 10, "allowedStatuses": ["STATUS_SUCCESS"]}
        groups = get(address, "plugin/hparams/session_groups", request=json.dumps(asked))["sessionGroups"]
        scores = {
            session["name"]: {metric["name"]["tag"]: metric["value"] for metric in session["metricValues"]}
            for group in groups
            for session in group["sessions"]
        }
        assert set(scores) == single
        for result in results.values():
            final = scores[f"{result.label}/seed{result.seed}"]["final/test_accuracy"]
            assert final == pytest.approx(result.final.test_accuracy, rel=1e-6)
