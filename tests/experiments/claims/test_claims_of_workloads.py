"""Claims on several workloads: one Holm family, and a verdict that holds for all or for none."""

from __future__ import annotations

from pathlib import Path

import pytest

from grng.experiments.claims.config import ClaimConfig
from grng.experiments.claims.statements import parse_claims
from grng.experiments.claims.verdicts import judge_claims, judge_on_workloads
from grng.experiments.claims.workloads import (
    detail_columns,
    overall_verdict,
    verdict_columns,
    workload_claim_remarks,
    workload_claims_as_dicts,
)
from grng.report.load import load_experiment
from grng.statistics import holm
from tests.report.factory import make_experiment

ADAMW = [0.950 + k / 1000 for k in range(6)]
TEXTS = ("ring.test_accuracy > adamw.test_accuracy", "ring.test_accuracy < adamw.test_accuracy + 0.02")


def test_holms_family_is_all_claims_of_all_workloads(tmp_path: Path) -> None:
    better = [value + 0.011 + k % 2 / 500 for k, value in enumerate(ADAMW)]
    same = [value + (-1) ** k / 900 for k, value in enumerate(ADAMW)]
    make_experiment(tmp_path / "a", {"adamw": ADAMW, "ring": better})
    make_experiment(tmp_path / "b", {"adamw": ADAMW, "ring": same}, model="test_vit")
    experiments = {name: load_experiment(tmp_path / name) for name in "ab"}
    claims = parse_claims([ClaimConfig(claim=text) for text in TEXTS], ["adamw", "ring"])
    judged = dict(zip("ab", judge_on_workloads(claims, list(experiments.values())), strict=True))
    alone = [judge_claims([claim], experiments[name])[0] for name in "ab" for claim in claims]
    together = [one for name in "ab" for one in judged[name]]
    assert [one.p for one in together] == [one.p for one in alone]
    assert [one.p_adjusted for one in together] == pytest.approx(holm([one.p for one in alone]))
    assert [one.verdict for one in together] == ["supported", "supported", "undecided", "supported"]
    # what is wider is wider: 4 claims, not 2
    (narrow, _), (wide, _) = judge_claims(claims, experiments["a"]), judged["a"]
    assert (narrow.low or 0) > (wide.low or 0)

    columns = verdict_columns(judged)
    assert [column.title for column in columns] == ["claim", "all workloads", "a", "b"]
    assert list(zip(*(column.cells for column in columns), strict=True)) == [
        (TEXTS[0], "undecided", "supported", "undecided"),
        (TEXTS[1], "supported", "supported", "supported"),
    ]
    details = detail_columns(judged)
    assert [column.title for column in details[:3]] == ["claim", "workload", "verdict"]
    assert details[1].cells == ("a", "b", "a", "b")
    assert any("Holm's correction for 4 claims" in remark for remark in workload_claim_remarks(judged))
    assert workload_claims_as_dicts(judged)[0]["workloads"] == {"a": "supported", "b": "undecided"}


def test_a_claim_holds_for_the_comparison_if_it_holds_for_each() -> None:
    assert overall_verdict(["supported", "supported"]) == "supported"
    assert overall_verdict(["supported", "undecided"]) == "undecided"
    assert overall_verdict(["supported", "contradicted", "undecided"]) == "contradicted"
