"""Options about diagnostics: what is measured beside training, and which columns show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import RunResult

_PANEL = "Diagnostics"


def complete_diagnostics(incomplete: str) -> list[tuple[str, str]]:
    """Complete the last name of a comma list of diagnostics; loads no torch."""
    from grng.diagnostics.names import DIAGNOSTICS

    before, comma, last = incomplete.rpartition(",")
    found = [(f"{before}{comma}{name}", info.meaning) for name, info in DIAGNOSTICS.items() if name.startswith(last)]
    return [*found, ("all", "all of them")] if not before and "all".startswith(last) else found


def complete_columns(incomplete: str) -> list[tuple[str, str]]:
    """Complete the last name of a comma list of fields; loads no torch."""
    from grng.report.row import FIELDS

    before, comma, last = incomplete.rpartition(",")
    return [(f"{before}{comma}{name}", info.meaning) for name, info in FIELDS.items() if name.startswith(last)]


Diagnostics = Annotated[
    str | None,
    typer.Option(
        "--diagnostics",
        metavar="NAMES",
        help="What to measure beside training: a comma list of hessian_max, hessian_trace, grad_norm, step_cosine, "
        "grad_correlation_consecutive, grad_correlation_sample; or all.",
        autocompletion=complete_diagnostics,
        rich_help_panel=_PANEL,
    ),
]
DiagnosticsEvery = Annotated[
    int | None,
    typer.Option(
        "--diagnostics-every", help="Steps between measurements; the last step is always one.", rich_help_panel=_PANEL
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAMES",
        help="Further columns: a comma list of what --expect can name, e.g. grad_norm,best_val_accuracy.",
        autocompletion=complete_columns,
        rich_help_panel="Output",
    ),
]


def not_measured(config: RunConfig, result: RunResult) -> str | None:
    """Return what to say where a run that was done before lacks diagnostics that are asked for now, else None."""
    lacking = [name for name in config.diagnostics.names if getattr(result.diagnostics, name) is None]
    if not lacking:
        return None
    return f"this run was done before, and its result has no {', '.join(lacking)}; do it again with --rerun to measure"
