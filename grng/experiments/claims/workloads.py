"""Claims on several workloads: what came of each on each, and what holds for the comparison as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from grng.experiments.claims.report import claim_columns, family_remark
from grng.experiments.claims.verdicts import JudgedClaim, Verdict
from grng.report.columns import Column
from grng.report.export import markdown_table

Judged = Mapping[str, Sequence[JudgedClaim]]
"""The claims by workload, in one order."""


def overall_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Return what holds for all workloads: supported on each, contradicted on one of them, else undecided."""
    if verdicts and all(verdict == "supported" for verdict in verdicts):
        return "supported"
    return "contradicted" if "contradicted" in verdicts else "undecided"


def verdict_columns(judged: Judged) -> list[Column]:
    """Return the columns of the table of verdicts: a row a claim, a column a workload."""
    claims = list(zip(*judged.values(), strict=True))

    def column(title: str, cells: Sequence[str], group: Literal["asked"] | None = "asked") -> Column:
        return Column(title, "left", tuple(cells), group)

    return [
        column("claim", [of_claim[0].claim.name for of_claim in claims], None),
        column("all workloads", [overall_verdict([one.verdict for one in of_claim]) for of_claim in claims]),
        *(column(name, [one.verdict for one in of_name]) for name, of_name in judged.items()),
    ]


def detail_columns(judged: Judged) -> list[Column]:
    """Return the columns of the table of estimates: a row a claim and workload."""
    claims = list(zip(*judged.values(), strict=True))
    every = [one for of_claim in claims for one in of_claim]
    name, *rest = claim_columns(every)
    workloads = tuple(workload for _ in claims for workload in judged)
    return [name, Column("workload", "left", workloads, "asked"), *rest]


def workload_claim_remarks(judged: Judged) -> list[str]:
    """Return what must be said beside the tables."""
    lines = [
        f"{one.claim.name} on {name}: {'; '.join(one.remarks)}"
        for name, of_name in judged.items()
        for one in of_name
        if one.remarks
    ]
    every = [one for of_name in judged.values() for one in of_name]
    lines += family_remark(every)
    if every:
        lines.append("a claim is supported over all workloads where it is on each, contradicted where it is on one")
    return lines


def workload_claims_markdown(judged: Judged) -> str:
    """Return both tables as GitHub shows them."""
    details = markdown_table(detail_columns(judged), workload_claim_remarks(judged))
    return "\n".join([markdown_table(verdict_columns(judged), []), details])


def workload_claims_as_dicts(judged: Judged) -> list[dict[str, Any]]:
    """Return the verdicts as plain values; the numbers are those of each workload's own document."""
    return [
        {
            "claim": of_claim[0].claim.text,
            "name": of_claim[0].claim.name,
            "verdict": overall_verdict([one.verdict for one in of_claim]),
            "workloads": {name: one.verdict for name, one in zip(judged, of_claim, strict=True)},
        }
        for of_claim in zip(*judged.values(), strict=True)
    ]
