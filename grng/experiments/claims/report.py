"""JudgedClaim claims as a table, as Markdown and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from grng.experiments.claims.verdicts import JudgedClaim
from grng.report.checks import plural
from grng.report.columns import NOTHING, Column, number
from grng.report.export import markdown_table


def claim_columns(tested: Sequence[JudgedClaim]) -> list[Column]:
    """Return the columns of the table of claims, one row a claim."""

    def column(title: str, cells: Sequence[str], justify: Literal["left", "right"] = "right") -> Column:
        return Column(title, justify, tuple(cells), "asked")

    return [
        column("claim", [one.claim.name for one in tested], "left"),
        column("verdict", [one.verdict for one in tested], "left"),
        column("estimate", [estimate(one) for one in tested], "left"),
        column("p (Holm)", [_p(one) for one in tested]),
        column("seeds", [str(one.n) for one in tested]),
    ]


def estimate(tested: JudgedClaim) -> str:
    """Return what was measured beside what is claimed: "ratio 0.84 [0.71, 0.98] to 1.1"."""
    if tested.estimate is None:
        return NOTHING
    shown = number(tested.estimate)
    if tested.low is not None and tested.high is not None:
        shown += f" [{number(tested.low)}, {number(tested.high)}]"
    if tested.method == "sign":
        return f"holds in a share of {shown} of the untied seeds"
    bound = number(tested.bound)
    if tested.method == "equivalence":
        return f"difference {shown} to {bound} ± {number(tested.claim.margin)}"
    return f"{tested.method} {shown} to {bound}"


def _p(tested: JudgedClaim) -> str:
    return NOTHING if tested.p is None else f"{tested.p:.2g} ({tested.p_adjusted:.2g})"


def claim_remarks(tested: Sequence[JudgedClaim]) -> list[str]:
    """Return what must be said beside the table: what claims are tested with, and why some are undecided."""
    return [*(f"{one.claim.name}: {'; '.join(one.remarks)}" for one in tested if one.remarks), *family_remark(tested)]


def family_remark(tested: Sequence[JudgedClaim]) -> list[str]:
    """Return what claims are tested with, for as many as could be; nothing where none could."""
    family = sum(one.p is not None for one in tested)
    if not family:
        return []
    text = (
        "claims: paired over seeds; 95 % Student-t intervals of mean differences or ratios, exact ones of shares where "
        f"there is no spread to estimate, widened as Holm's correction for {plural(family, 'claim')} does"
    )
    return [text]


def claims_markdown(tested: Sequence[JudgedClaim]) -> str:
    """Return the claims as GitHub shows them, to stand below the table of the comparison."""
    columns = claim_columns(tested)
    return markdown_table(columns, claim_remarks(tested))


def claims_as_dicts(tested: Sequence[JudgedClaim]) -> list[dict[str, Any]]:
    """Return the claims as plain values that any JSON writer takes; infinity is the text "inf"."""
    return [
        {
            "claim": one.claim.text,
            "name": one.claim.name,
            "verdict": one.verdict,
            "method": one.method,
            "estimate": _plain(one.estimate),
            "low": _plain(one.low),
            "high": _plain(one.high),
            "bound": _plain(one.bound),
            "margin": one.claim.margin or None,
            "confidence": one.confidence,
            "p": one.p,
            "p_adjusted": one.p_adjusted,
            "n": one.n,
            "values": {name: _plain(value) for name, value in (one.values or {}).items()},
            "remarks": list(one.remarks),
        }
        for one in tested
    ]


def _plain(value: float | None) -> float | str | None:
    return str(value) if value is not None and not math.isfinite(value) else value
