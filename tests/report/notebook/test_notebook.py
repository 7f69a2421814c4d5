"""What a comparison shows in a notebook: a pandas table, a plotly figure, HTML that escapes what users may write."""

from __future__ import annotations

import json
import math
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from grng.errors import GrngError, UnknownNameError
from grng.experiments.compare import Comparison
from grng.experiments.workloads.compare import Comparisons
from grng.report.load import load_experiment
from grng.report.notebook.curves import RunCurve, mean_curve, read_curves
from tests.report.factory import make_experiment, make_run, place, write_plan

HOSTILE = "<img src=x onerror=alert(1)>&'\""


def measure(root: Path, label: str, seed: int, points: dict[int, float], *, epoch: bool = True) -> None:
    """Give a run validation accuracies by step, each a second after the other."""
    lines = [
        {"kind": "epoch" if epoch else "step", "step": step, "elapsed_s": float(number), "val_accuracy": value}
        for number, (step, value) in enumerate(points.items(), 1)
    ]
    (place(root, label, seed) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def done(tmp_path: Path) -> Comparison:
    root = make_experiment(tmp_path / "runs", {"adamw": [0.90, 0.92], "ring": [0.94, 0.96]})
    return Comparison(root, (), ())


def test_the_table_has_the_numbers_of_the_report(done: Comparison) -> None:
    table = done.table()
    assert list(table.index) == ["adamw", "ring"]
    assert table.index.name == "optimizer"
    assert table.loc["ring", "test_accuracy"] == pytest.approx(0.95)
    assert table.loc["ring", "difference"] == pytest.approx(0.04)
    assert table.loc["ring", "verdict"] == "not distinguishable with n = 2"
    assert table.loc["adamw", "verdict"] == ""
    assert math.isnan(table.loc["adamw", "p_value"])
    assert "hessian_max" not in table, "what no run measured is no column"
    assert table["test_accuracy"].dtype == float


def test_a_target_that_was_never_reached_is_infinity(tmp_path: Path) -> None:
    root = make_experiment(tmp_path / "runs", {"adamw": [0.9, 0.9]}, target={"step": None, "time_s": None})
    assert Comparison(root, (), ()).table().loc["adamw", "steps_to_target"] == math.inf


def test_several_workloads_are_one_table(tmp_path: Path) -> None:
    for model in ("test_vit", "test_resnet"):
        make_experiment(tmp_path / model, {"adamw": [0.9], "ring": [0.94 if model == "test_vit" else 0.8]}, model=model)
    (tmp_path / "workloads.yaml").write_text("workloads: [test_vit, test_resnet]\n")
    done = Comparisons(tmp_path, {})
    table = done.table()
    assert table.index.names == ["workload", "optimizer"]
    assert table.loc[("test_resnet", "ring"), "test_accuracy"] == pytest.approx(0.8)
    assert done._repr_html_().count("<table>") == 2
    assert "<b>test_resnet: test_resnet on mnist5k, seeds 0</b>" in done._repr_html_()


def test_a_figure_has_the_mean_of_each_row_over_the_steps_that_all_seeds_have(done: Comparison) -> None:
    measure(done.directory, "ring", 0, {10: 0.5, 20: 0.7})
    measure(done.directory, "ring", 1, {10: 0.6, 20: 0.9, 30: 0.95})
    thick = {one.name: one for one in done.plot().data if one.opacity is None}
    assert thick["ring"].x == (10, 20)
    assert thick["ring"].y == pytest.approx([0.55, 0.8])
    assert thick["adamw"].y == ()  # its metrics have no such line
    thin = [one for one in done.plot().data if one.opacity is not None]
    assert [one.x for one in thin] == [(10, 20), (10, 20, 30)]
    times = {one.name: one for one in done.plot(x="time").data if one.opacity is None}
    assert times["ring"].x == (1.0, 2.0)
    assert done.plot().layout.yaxis.title.text == "validation accuracy"


def test_a_training_loss_is_that_of_whole_epochs(tmp_path: Path) -> None:
    root = make_experiment(tmp_path, {"ring": [0.9]})
    lines = [
        {"kind": "step", "step": 5, "elapsed_s": 1.0, "train_loss": 9.0},
        {"kind": "epoch", "step": 10, "elapsed_s": 2.0, "train_loss": 0.5},
        {"kind": "epoch", "step": 20, "elapsed_s": 3.0, "train_loss": None},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"train_loss": torn'
    (place(root, "ring", 0) / "metrics.jsonl").write_text(text)
    (curve,) = read_curves(load_experiment(root), "train_loss")["ring"]
    assert curve == RunCurve(0, (10,), (2.0,), (0.5,))
    assert mean_curve([]).steps == ()


@pytest.mark.parametrize(("given", "hint"), [({"y": "val_acuracy"}, "val_accuracy"), ({"x": "epochs"}, "step, time")])
def test_an_unknown_quantity_is_one_message(done: Comparison, given: dict[str, str], hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint) as caught:
        done.plot(**given)
    assert f"cannot show {next(iter(given.values()))!r}." in str(caught.value)


class Tags(HTMLParser):
    """Collects the tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_escapes_labels_and_shows_the_verdict(tmp_path: Path) -> None:
    root = tmp_path / "a<script>b"
    write_plan(root, ["adamw", HOSTILE], [0], reference="adamw")
    make_run(root, "adamw", 0)
    make_run(root, HOSTILE, 0, optimizer="ring")
    found = Tags(Comparison(root, (), ())._repr_html_())
    assert found.tags == {"p", "b", "small", "table", "thead", "tbody", "tr", "th", "td"}
    assert HOSTILE in found.text
    assert "not distinguishable with n = 1" in found.text
    assert str(root) in found.text
    names = {one.name for one in Comparison(root, (), ()).plot().data}
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;'\"" in names


def test_html_of_a_directory_that_is_gone_says_so(tmp_path: Path) -> None:
    assert str(tmp_path / "gone") in Comparison(tmp_path / "gone", (), ())._repr_html_()


@pytest.mark.parametrize(("package", "method"), [("pandas", "table"), ("plotly", "plot")])
def test_a_package_that_is_not_installed_is_one_message(
    done: Comparison, package: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(GrngError, match=rf"{package} is not installed. pip install 'grng\[notebook\]'"):
        getattr(done, method)()
