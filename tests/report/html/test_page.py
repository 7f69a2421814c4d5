from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from grng.report.html.grids import failure_grid
from grng.report.html.page import json_for_script
from grng.report.html.plotting import tick_text
from grng.report.load import load_experiment
from tests.report.factory import make_experiment, make_run, place
from tests.report.html.pages import Parsed, make_page, parse, policy_of, section_names
from tests.report.html.runs import HOSTILE, make_full, make_rough, make_sweep, make_tuned, write_curves

LIMIT = 8_000_000


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_page(make_rough(tmp_path_factory.mktemp("rough")))


def figure_named(parsed: Parsed, beginning: str) -> dict[str, Any]:
    captions = [a["aria-label"] for tag, a in parsed.elements if tag == "div" and a.get("role") == "img"]
    place = next(at for at, caption in enumerate(captions) if str(caption).startswith(beginning))
    return parsed.figures[place]


def test_a_hostile_name_is_text_everywhere(rough: str) -> None:
    parsed = parse(rough)
    # The page's own three: figures, plotly.js, and its script; nothing else is a script, an image, or has a handler.
    assert len(parsed.scripts) == 3
    names = {tag for tag, _ in parsed.elements}
    assert not names & {"img", "iframe", "object", "embed", "form", "base"}
    assert [tag for tag, _ in parsed.elements].count("style") == 1
    assert not [key for _, attributes in parsed.elements for key in attributes if key.startswith("on")]
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert shown in parsed.text
    assert "\u202e" not in rough
    labels = [text for figure in parsed.figures for trace in figure["data"] for text in [str(trace)]]
    assert not any("<script" in text or "<img" in text for text in labels), "plotly.js takes tags for markup"
    assert any("&lt;script" in text for text in labels)


def test_only_its_own_scripts_run_and_nothing_is_loaded(rough: str) -> None:
    parsed = parse(rough)
    policy = dict(part.strip().split(" ", 1) for part in policy_of(parsed).split(";"))
    assert policy["default-src"] == "'none'"
    expected = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for _, text in parsed.scripts[1:]
    }
    assert set(policy["script-src"].split()) == expected
    assert parsed.scripts[0][0]["type"] == "application/json"
    assert not parsed.attributes("src")
    assert all(link.startswith(("#", "data:")) for link in parsed.attributes("href"))


def test_json_within_a_script_ends_nothing() -> None:
    text = json_for_script({"a": "</script><!--", "b": "\u2028&"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"a": "</script><!--", "b": "\u2028&"}


def test_sections_come_in_their_order(tmp_path: Path) -> None:
    parsed = parse(make_page(make_tuned(tmp_path)))
    assert section_names(parsed) == [
        "verdict", "results", "curves", "target", "cost", "pairs", "tuning", "sensitivity", "diagnostics", "coverage", "replay", "downloads",
    ]  # fmt: skip
    assert figure_named(parsed, "ring: accuracy by lr and damping")["data"][0]["type"] == "heatmap"


def test_an_experiment_in_the_middle_says_so_and_names_what_failed(rough: str) -> None:
    parsed = parse(rough)
    assert (
        "This report is of an experiment that is not done: 9 of 12 runs have ended; 1 interrupted, 2 missing."
        in parsed.text
    )
    assert "failures" in section_names(parsed)
    for words in ("ring seed 1", "diverged", "nan", "ring seed 2", "oom", "12 of 12"):
        assert words in parsed.lines, words
    loss = figure_named(parsed, "Training loss")
    assert [trace["line"]["dash"] for trace in loss["data"] if trace["meta"] == "other"] == ["dot"] * 3


def test_the_log_says_how_far_a_run_came_that_was_stopped(tmp_path: Path) -> None:
    make_full(tmp_path, seeds=2)
    path = place(tmp_path, "ring", 1)
    make_run(tmp_path, "ring", 1, status="failed", reason="timeout", steps=0, planned_steps=None)
    write_curves(path, 1, steps=40)
    (path.parent / "seed0" / "result.json").unlink()
    grid = failure_grid(load_experiment(tmp_path).runs)
    assert grid is not None
    assert [row[3].text for row in grid.rows] == ["81 of ?", "39 of ?"]


def test_every_number_of_the_table_has_its_interval(tmp_path: Path) -> None:
    parsed = parse(make_page(make_full(tmp_path)))
    text = parsed.text
    # accuracies 0.91, 0.911, 0.912: 0.911 ± 4.303 · 0.001 / √3
    assert "0.911\n[0.909, 0.913]" in text
    assert "+1.0\n[+1.0, +1.0]" in text
    assert "45\n45 to 45" in text
    assert "102\n[99.5, 104]" in text  # ms: 101, 102, 103
    keys = [float(str(a["data-n"])) for tag, a in parsed.elements if tag == "td" and "data-n" in a]
    assert 0.911 in [round(key, 6) for key in keys]


def test_downloads_hold_the_data(tmp_path: Path) -> None:
    parsed = parse(make_page(make_full(tmp_path)))
    files = {
        str(a["download"]): base64.b64decode(str(a["href"]).partition(",")[2]).decode()
        for tag, a in parsed.elements
        if tag == "a" and "download" in a
    }
    runs = list(csv.DictReader(io.StringIO(files["runs.csv"])))
    assert len(runs) == 9
    assert [float(run["test_accuracy"]) for run in runs[:3]] == [0.9, 0.901, 0.902]
    assert json.loads(files["report.json"])["rows"][1]["label"] == "ring"
    assert len(list(csv.DictReader(io.StringIO(files["rows.csv"])))) == 3


def test_twenty_one_long_runs_stay_small_and_quick(tmp_path: Path) -> None:
    make_full(tmp_path, ("sgd", "adamw", "kfac", "sophia-g", "ring", "reng", "r-kalman"), 3, steps=1215, every=2)
    begin = time.process_time()
    text = make_page(tmp_path)
    assert time.process_time() - begin < 6  # a loaded machine; about one second
    assert len(text.encode()) < LIMIT


def test_a_sweep_alone_has_a_page(tmp_path: Path) -> None:
    parsed = parse(make_page(make_sweep(tmp_path / "s")))
    assert section_names(parsed) == [
        "verdict",
        "results",
        "curves",
        "tuning",
        "sensitivity",
        "failures",
        "replay",
        "downloads",
    ]
    assert "the best lr is at the upper end" in parsed.text
    assert any(line.startswith("The best validation accuracy, 0.8") for line in parsed.lines)
    names = [str(a["download"]) for tag, a in parsed.elements if tag == "a" and "download" in a]
    assert names == ["trials.csv", "sweep.json", "best.yaml"]


def test_several_workloads_share_the_sections(tmp_path: Path) -> None:
    for name, model in (("a", "test_vit"), ("b", "test_resnet")):
        make_full(tmp_path / name, ("adamw", "ring"), model=model)
    parsed = parse(make_page(tmp_path / "a", tmp_path / "b"))
    assert parsed.lines.count("test_vit on mnist5k") >= 8, "a heading in every section"
    profiles = figure_named(parsed, "Performance profiles, steps")
    assert profiles["data"][1]["y"][0] == 100, "ring is the fastest on both"
    assert "workload2-adamw.yaml" in parsed.text
    assert section_names(parsed).count("curves") == 1


def test_long_names_stay_apart_beside_an_axis_and_long_legends_are_folded(tmp_path: Path) -> None:
    names = [f"the same long beginning of a name, number {place}" for place in range(9)]
    parsed = parse(make_page(make_full(tmp_path, names, seeds=2, steps=27)))
    ticks = figure_named(parsed, "Time of a step by phase")["layout"]["yaxis"]["ticktext"]
    assert len(set(ticks)) == 9
    assert ticks[3] == "the same long beginning<br>of a name, number 3"
    assert "legend: 9 rows" in parsed.lines
    assert tick_text("<b>" * 30) == "&lt;b&gt;" * 8 + "<br>" + "&lt;b&gt;" * 7 + "&lt;b…"


def test_one_row_with_one_seed_has_a_page(tmp_path: Path) -> None:
    parsed = parse(make_page(make_experiment(tmp_path, {"ring": [0.9]})))
    assert "ring has a test accuracy of 0.900 over 1 seed; there is nothing to compare it with." in parsed.text
    assert "pairs" not in section_names(parsed)


def test_figures_are_what_plotly_takes(tmp_path: Path) -> None:
    graphs = pytest.importorskip("plotly.graph_objects")
    make_tuned(tmp_path / "tuned")
    parsed = parse(make_page(tmp_path / "tuned"))
    assert len(parsed.figures) >= 12
    for figure in parsed.figures:
        graphs.Figure(data=figure["data"], layout=figure["layout"])  # an unknown property is an error
        assert all(
            len(x) == len(trace["y"]) for trace, xs in zip(figure["data"], figure["xs"], strict=False) for x in xs
        )


def test_the_page_can_be_read_without_sight_or_mouse(rough: str) -> None:
    parsed = parse(rough)
    tables = [tag for tag, _ in parsed.elements if tag == "table"]
    captions = [tag for tag, _ in parsed.elements if tag == "caption"]
    assert len(captions) == len(tables) > 0
    assert all(a.get("scope") in ("col", "row") for tag, a in parsed.elements if tag == "th")
    figures = [a for tag, a in parsed.elements if tag == "div" and a.get("role") == "img"]
    assert len(figures) == len(parsed.figures)
    assert all(len(str(a["aria-label"])) > 3 for a in figures)
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids))
    assert {f"#{name}" for name in section_names(parsed)} <= set(parsed.attributes("href"))
    assert "#main" in parsed.attributes("href")
    assert all(a.get("type") == "button" for tag, a in parsed.elements if tag == "button")
