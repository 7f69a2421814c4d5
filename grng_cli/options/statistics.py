"""Options about what a comparison is to show: claims, equivalence, intervals, and how many seeds that takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from grng.errors import GrngError

_PANEL = "Statistics"
_PLAN_PANEL = "Planning"


def complete_intervals(incomplete: str) -> list[str]:
    """Complete the name of a kind of interval."""
    return [name for name in ("t", "bootstrap") if name.startswith(incomplete)]


Claim = Annotated[
    list[str] | None,
    typer.Option(
        "--claim",
        metavar="CLAIM",
        help="What is tested over seeds: supported, contradicted or undecided; e.g. 'ring.steps_to_target < "
        "adamw.steps_to_target', 'ring.test_accuracy = reng.test_accuracy ± 0.005'. Repeatable.",
        rich_help_panel=_PANEL,
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--margin",
        help="Largest difference in test accuracy that does not matter, a fraction: verdicts may be 'equivalent'.",
        rich_help_panel=_PANEL,
    ),
]
Interval = Annotated[
    str | None,
    typer.Option(
        "--interval",
        help="Intervals over seeds: t (Student's), or bootstrap (BCa) from 20 seeds on.",
        autocompletion=complete_intervals,
        rich_help_panel=_PANEL,
    ),
]
Plan = Annotated[
    bool,
    typer.Option(
        "--plan",
        help="Say how many seeds it takes to find --effect, and what they cost; nothing is trained.",
        rich_help_panel=_PLAN_PANEL,
    ),
]
Effect = Annotated[
    float | None,
    typer.Option(
        "--effect",
        help="Difference in test accuracy to find, a fraction: 0.01 is a point.",
        rich_help_panel=_PLAN_PANEL,
    ),
]
Spread = Annotated[
    float | None,
    typer.Option(
        "--spread", help="Standard deviation of the paired differences, a fraction.", rich_help_panel=_PLAN_PANEL
    ),
]
Pilot = Annotated[
    Path | None,
    typer.Option(
        "--pilot", metavar="DIR", help="An earlier comparison that tells the spread.", rich_help_panel=_PLAN_PANEL
    ),
]
Power = Annotated[
    float | None, typer.Option("--power", help="Probability of finding it; default 0.8.", rich_help_panel=_PLAN_PANEL)
]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", help="Significance after Holm's correction; default 0.05.", rich_help_panel=_PLAN_PANEL),
]


def overrides(
    claim: list[str] | None,
    margin: float | None,
    interval: str | None,
    effect: float | None,
    spread: float | None,
    pilot: Path | None,
    power: float | None,
    alpha: float | None,
) -> list[tuple[str, Any, str]]:
    """Return the keys of a comparison that these options set."""
    return [
        ("claims", claim or None, "--claim"),
        ("margin", margin, "--margin"),
        ("interval", interval, "--interval"),
        ("planning.effect", effect, "--effect"),
        ("planning.spread", spread, "--spread"),
        ("planning.pilot", pilot and str(pilot), "--pilot"),
        ("planning.power", power, "--power"),
        ("planning.alpha", alpha, "--alpha"),
    ]


def check_planning_flags(flags: Sequence[tuple[str, Any, str]], *, plan: bool, dry_run: bool) -> None:
    """Refuse what says how to plan without `--plan`, and two commands in one.

    Raises:
        GrngError: As above.
    """
    if plan and dry_run:
        raise GrngError("--plan and --dry-run exclude each other; give one.", where="--plan")
    for key, value, flag in flags:
        if key.startswith("planning.") and value is not None and not plan:
            raise GrngError("belongs to --plan.", where=flag, hint="Add --plan, which trains nothing.")
