"""Claims, margins, intervals and plans on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import TINY, Call, snapshot
from tests.report.factory import make_experiment

ADAMW = [0.950 + k / 1000 for k in range(8)]
RING = [0.961 + k / 1100 for k in range(8)]
RENG = [0.9504 + k / 1010 for k in range(8)]


@pytest.fixture
def experiment(workdir: Path) -> str:
    """Eight seeds of three rows: ring is better than adamw, reng as good."""
    make_experiment(workdir / "x", {"adamw": ADAMW, "ring": RING, "reng": RENG})
    return "x"


def test_a_comparison_tests_its_claims_and_a_report_remembers_them(grng: Call, workdir: Path) -> None:
    (workdir / "claims.yaml").write_text(
        "claims:\n  - {claim: adamw.train_loss < 2 * sgd.train_loss, name: AdamW gets there}\n  - sgd.steps <= 2\n"
    )
    line = ("compare", *TINY, "--optimizers", "sgd,adamw", "--seeds", 2, "--workers", 0, "--output", "x")
    ran = grng(*line, "--config", "claims.yaml", "--margin", 0.5)
    assert ran.code == 0, ran.err
    assert "AdamW gets there " in ran.out
    assert yaml.safe_load((workdir / "x" / "experiment.yaml").read_text())["claims"] == [
        {"claim": "adamw.train_loss < 2 * sgd.train_loss", "name": "AdamW gets there"},
        {"claim": "sgd.steps <= 2", "name": None},
    ]
    reported = grng("report", "x")
    assert (reported.code, reported.out) == (0, ran.out)
    document = json.loads(grng("report", "x", "--json", "--markdown", "x.md").out)
    assert [claim["name"] for claim in document["claims"]] == ["AdamW gets there", "sgd.steps <= 2"]
    assert (document["claims"][1]["verdict"], document["claims"][1]["n"]) == ("undecided", 2)
    assert document["margin"] == 0.5
    assert "| AdamW gets there |" in (workdir / "x.md").read_text()
    other = json.loads(grng("report", "x", "--json", "--claim", "sgd.steps >= 1", "--margin", 0.9).out)
    assert [claim["claim"] for claim in other["claims"]] == ["sgd.steps >= 1"]
    assert other["margin"] == 0.9


def test_verdicts_of_claims_in_a_report(grng: Call, experiment: str) -> None:
    claims = ("ring.test_accuracy > adamw.test_accuracy", "reng.test_accuracy = adamw.test_accuracy ± 0.005")
    ran = grng("report", experiment, *(part for text in claims for part in ("--claim", text)))
    assert ran.code == 0, ran.err
    table = ran.out[ran.out.index("claim ") :]
    assert table.count(" supported ") == 2
    against = grng("report", experiment, "--claim", "ring.test_accuracy < adamw.test_accuracy")
    assert against.code == 0, "a claim is a question, not a condition"
    assert " contradicted " in against.out


def test_equivalence_has_a_margin(grng: Call, experiment: str) -> None:
    document = json.loads(grng("report", experiment, "--margin", 0.005, "--json").out)
    rows = {row["label"]: row for row in document["rows"]}
    assert rows["ring"]["verdict"] == "better"
    assert rows["reng"]["verdict"] == "better, but within ±0.5 points"
    assert rows["ring"]["effect_size"] > 5
    assert (rows["ring"]["win_share"], rows["adamw"]["win_share"]) == (1.0, None)
    ran = grng("report", experiment, "--margin", 0.005, "--columns", "effect_size,win_share", "--markdown", "x.md")
    assert Path("x.md").read_text().splitlines()[0].endswith(" | effect size | win share, fraction |")
    assert "two one-sided t tests of a difference within ±0.5 points" in ran.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--claim", "rnig.steps < 3"), "--claim: there is no row 'rnig' (column 1)"),
        (("--claim", ""), "--claim: must not be empty."),
        (("--margin", "0"), "--margin: must lie between 0 and 1, not 0."),
        (("--interval", "z"), "--interval: must be t or bootstrap, not 'z'."),
    ],
)
def test_what_a_report_cannot_take(grng: Call, experiment: str, options: tuple[str, ...], said: str) -> None:
    ran = grng("report", experiment, *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_stored_claims_about_rows_that_are_gone_are_left_out_aloud(grng: Call, experiment: str, workdir: Path) -> None:
    path = workdir / experiment / "experiment.yaml"
    plan = yaml.safe_load(path.read_text()) | {"claims": [{"claim": "sgd.steps < 3", "name": None}]}
    path.write_text(yaml.safe_dump(plan))
    ran = grng("report", experiment)
    assert ran.code == 0
    assert "warning: the claim 'sgd.steps < 3' is left out: there is no row 'sgd'" in ran.err


BAD_COMPARISONS = [
    (("--config", "bad.yaml"), "bad.yaml:3 (claims[1]): there is no row 'rnig' (column 16)"),
    (("--claim", "sgd.steps * sgd.steps < 3"), "--claim: a field times a field cannot be tested (column 13)"),
    (("--margin", "5"), "--margin: must be less than 1, not 5.0."),
    (("--interval", "z"), "--interval: must be 't' or 'bootstrap', not 'z'."),
    (("--plan",), "--plan: needs the difference that is to be found."),
    (("--plan", "--effect", "0.01"), "--plan: needs the spread of the paired differences."),
    (
        ("--plan", "--effect", "0.01", "--spread", "0.1", "--pilot", "x"),
        "spread and pilot exclude each other; give one.",
    ),
    (("--plan", "--effect", "0.01", "--spread", "0.1", "--power", "80"), "--power: must be less than 1, not 80.0."),
    (("--plan", "--dry-run"), "--plan: --plan and --dry-run exclude each other; give one."),
    (("--effect", "0.01"), "--effect: belongs to --plan."),
    (("--plan", "--effect", "0.01", "--pilot", "nowhere", "--workers", "0"), "nowhere: does not exist"),
]


@pytest.mark.parametrize(("options", "said"), BAD_COMPARISONS)
def test_what_a_comparison_cannot_take(grng: Call, workdir: Path, options: tuple[str, ...], said: str) -> None:
    (workdir / "bad.yaml").write_text("claims:\n  - sgd.steps < 3\n  - sgd.val_loss < rnig.steps\n")
    before = snapshot(workdir)
    ran = grng("compare", *TINY, "--optimizers", "sgd,adamw", *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert snapshot(workdir) == before


def test_a_plan_is_a_table_and_a_sentence_and_writes_nothing(
    grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grng.experiments.estimate.MEASURED_STEPS", 1)
    make_experiment(workdir / "pilot", {"sgd": [0.9, 0.91, 0.93], "adamw": [0.93, 0.92, 0.95]})
    before = snapshot(workdir)
    line = ("compare", *TINY, "--optimizers", "sgd,adamw", "--workers", 0, "--plan", "--effect", 0.01)
    ran = grng(*line, "--spread", 0.01)
    assert ran.code == 0, ran.err
    assert "11 seeds find a difference of 1 point of test accuracy to adamw with a probability of 80 %" in ran.out
    assert "22 runs: about " in ran.out
    document = json.loads(grng(*line, "--pilot", "pilot", "--json").out)
    assert [row["pilot_pairs"] for row in document["rows"]] == [3, None]
    assert document["rows"][0]["spread"] == pytest.approx(0.01, rel=0.2)
    assert document["seeds"] == document["rows"][0]["seeds"] > 6
    assert document["estimated_seconds"] > 0
    assert snapshot(workdir) == before


def test_one_seed_cannot_decide_a_claim_and_is_refused(grng: Call, workdir: Path) -> None:
    line = ("compare", *TINY, "--optimizers", "sgd", "--seeds", 1, "--workers", 0, "--output", "x")
    ran = grng(*line, "--claim", "sgd.steps < 9", "--margin", 0.01)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: --seeds: 1 claim and equivalence cannot be decided with 1 seed.\n hint: Give --")
    assert snapshot(workdir) == {}


def test_a_smoke_run_of_one_seed_leaves_claims_undecided(grng: Call, workdir: Path) -> None:
    line = ("compare", "--smoke", *TINY, "--optimizers", "sgd", "--workers", 0, "--output", "x")
    ran = grng(*line, "--claim", "sgd.steps < 9", "--margin", 0.01)
    assert ran.code == 0, ran.err
    assert ran.err.index("warning: 1 claim and equivalence cannot be decided with 1 seed") < ran.err.index("[1/1]")
    assert "a single seed has no spread" in ran.out
