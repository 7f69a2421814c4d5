"""`grng report` in its formats, and the page that `grng compare` and `grng sweep` end with."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from grng_cli import report_page
from grng_cli.output import Output
from grng_cli.summaries import overview
from tests.cli.conftest import TINY, Call, snapshot
from tests.report.factory import make_experiment, make_run
from tests.report.html.runs import make_full, make_sweep


@pytest.fixture
def experiment(workdir: Path) -> Path:
    return make_full(workdir / "x", ("adamw", "ring"))


def test_formats_go_to_a_pipe(grng: Call, experiment: Path) -> None:
    markdown = grng("report", "x", "--format", "markdown")
    assert (markdown.code, markdown.err) == (0, "")
    assert markdown.out.startswith("| optimizer | runs |")
    assert grng("report", "x", "--format", "latex").out.count("\\begin{tabular}") == 3
    assert len(list(csv.DictReader(io.StringIO(grng("report", "x", "--format", "csv").out)))) == 6
    assert json.loads(grng("report", "x", "--format", "json").out) == json.loads(grng("report", "x", "--json").out)


def test_the_formats_say_what_the_other_options_write(grng: Call, experiment: Path) -> None:
    grng("report", "x", "--markdown", "old.md")
    grng("report", "x", "--output", "new.md")
    assert Path("new.md").read_text() == Path("old.md").read_text()


def test_a_page_goes_beside_the_runs_or_where_it_is_asked_for(grng: Call, experiment: Path) -> None:
    before = snapshot(experiment)
    ran = grng("report", "x", "--format", "html")
    assert (ran.code, ran.out, ran.err) == (0, "", "wrote x/report.html\n")
    after = snapshot(experiment)
    assert {name for name in after if after[name] != before.get(name)} == {"report.html"}
    assert grng("report", "x", "-o", "page.html", "--quiet").err == ""
    assert "adamw" in Path("page.html").read_text()
    # The page beside the runs is no run: a report of the directory stays what it was.
    assert grng("report", "x", "--format", "csv").code == 0


def test_expectations_and_failed_runs_decide_the_exit_code(grng: Call, experiment: Path) -> None:
    ran = grng("report", "x", "-o", "page.html", "--expect", "ring.test_accuracy > 0.99")
    assert ran.code == 4
    assert "does not hold" in ran.err
    make_run(experiment, "ring", 0, status="failed", reason="oom", final={"test_accuracy": None})
    assert grng("report", "x", "--format", "markdown").code == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report x --format htlm", "--format: there is no format 'htlm'.\n hint: Did you mean 'html'?"),
        ("report x --output table.xls", "--output table.xls: its name does not tell the format."),
        ("report x --output no/page.html", "no/page.html: is in a directory that does not exist."),
        ("report x --output x --format html", "x: is a directory, not a file."),
        ("report x --format csv --json", "--format: excludes --json; give one."),
        ("report x x --format html", "--format html: a page of several directories needs a place."),
        ("report broken --format html", "broken/sweep.json: cannot be read as a sweep."),
        ("report young --format html", "young: no trial has ended yet."),
    ],
)
def test_what_is_asked_wrongly_is_said_and_nothing_is_written(
    grng: Call, experiment: Path, workdir: Path, line: str, message: str
) -> None:
    for name in ("broken", "young"):
        (workdir / name).mkdir()
        (workdir / name / "sweep.yaml").write_text("")
    (workdir / "broken" / "sweep.json").write_text("{}")
    before = snapshot(workdir)
    ran = grng(*line.split())
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert snapshot(workdir) == before


def test_a_sweep_and_an_experiment_share_a_page(grng: Call, experiment: Path, workdir: Path) -> None:
    make_sweep(workdir / "s")
    assert grng("report", "x", "s", "-o", "both.html").code == 0
    text = Path("both.html").read_text()
    assert "ring on digits" in text
    assert "test_resnet on mnist5k" in text


def test_a_comparison_ends_with_its_page(grng: Call) -> None:
    line = ("compare", *TINY, "--optimizers", "sgd", "--seeds", 1, "--workers", 0, "--output", "c")
    ran = grng(*line, "--no-report")
    assert ran.code == 0, ran.err
    assert not Path("c/report.html").exists()
    ran = grng(*line)
    assert ran.code == 0, ran.err
    assert "report: c/report.html" in ran.err
    assert "report.html" not in ran.out
    first = Path("c/report.html").read_text()
    assert "1 of 1 runs finished" in first
    # With the directory's own page in it the same line goes on as before.
    assert grng(*line).code == 0


def test_a_page_that_cannot_be_written_does_not_fail_the_comparison(grng: Call) -> None:
    line = ("compare", *TINY, "--optimizers", "sgd", "--seeds", 1, "--workers", 0, "--output", "c")
    assert grng(*line, "--set", "report=false").code == 0
    Path("c/report.html").mkdir()
    ran = grng(*line)
    assert ran.code == 0
    assert "warning: report.html was not written" in ran.err
    assert "try again with: grng report c --format html" in ran.err


@pytest.mark.slow
def test_a_sweep_ends_with_its_page(grng: Call) -> None:
    ran = grng("sweep", *TINY, "--optimizer", "sgd", "--trials", 2, "--workers", 0, "--output", "s")
    assert ran.code == 0, ran.err
    assert "report: s/report.html" in ran.err
    assert "2 trials" in Path("s/report.html").read_text()


@pytest.mark.slow
def test_a_table_loads_nothing_that_only_a_page_or_training_needs(tmp_path: Path) -> None:
    make_experiment(tmp_path / "x", {"adamw": [0.9]})
    look = (
        "import sys; from grng_cli.main import app\n"
        "try: app(['report', sys.argv[1], '--format', 'markdown'], prog_name='grng')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'jinja2', 'plotly', 'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", look, str(tmp_path / "x")], check=True, capture_output=True, env=os.environ)


def test_thousands_of_runs_have_no_page_at_a_commands_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report_page, "MANY", 1)
    for seed in (0, 1):
        (tmp_path / "runs" / "ring" / f"seed{seed}").mkdir(parents=True)
    report_page.write_at_end(tmp_path / "runs", Output())
    assert f"for the page: grng report {tmp_path / 'runs'} --format html" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "report.html").exists()


def test_thousands_of_runs_have_no_overview_either_but_the_line_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "two words"
    make_experiment(directory, {"adamw": [0.9, 0.8]})
    for run in directory.glob("*/seed*"):
        (run / "events.out.tfevents.1.nowhere.1.grng").touch()
    monkeypatch.setattr(overview, "MANY", 1)
    overview.refresh_boards([directory], Output())
    _, _, line = capsys.readouterr().err.partition("for its overview: ")
    assert not (directory / "@summary").exists()
    program, *arguments = shlex.split(line)
    assert program == "python"
    subprocess.run([sys.executable, *arguments], check=True)
    assert list((directory / "@summary").glob("events.out.tfevents.*"))
