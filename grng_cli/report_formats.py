"""The report as a file or for a pipe: which format, where it goes, and what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng.errors import GrngError, suggest
from grng_cli.options.report import FORMATS

if TYPE_CHECKING:
    from grng.experiments.claims.expectations import Outcome
    from grng.experiments.claims.verdicts import JudgedClaim
    from grng.report.overall import Overall
    from grng.report.tables import Table
    from grng.report.workloads import Workloads

PAGE = "report.html"

_ENDINGS = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".tex": "latex",
    ".csv": "csv",
    ".json": "json",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that a report says.

    Attributes:
        workloads: The runs.
        tables: By workload.
        overall: What holds over several workloads; None where there is one.
        judged: Claims by workload; empty sequences where there are none.
        outcomes: Expectations by workload.
        directories: What the report was asked of.
        warnings: Stored claims that these runs cannot answer.
    """

    workloads: Workloads
    tables: Mapping[str, Table]
    overall: Overall | None
    judged: Mapping[str, Sequence[JudgedClaim]]
    outcomes: Mapping[str, Sequence[Outcome]]
    directories: Sequence[Path]
    warnings: Sequence[str] = ()

    @property
    def has_claims(self) -> bool:
        """Whether there is a claim."""
        return any(self.judged.values())

    @property
    def exit_code(self) -> int:
        """What tables and expectations come to."""
        from grng_cli.summaries.compare import exit_code

        return exit_code(list(self.tables.values()), [one for of_one in self.outcomes.values() for one in of_one])


def format_of(name: str | None, output: Path | None) -> str | None:
    """Return the format that is asked for, by name or by the file's ending; None: the terminal's table.

    Raises:
        GrngError: There is no such format, or the file's ending does not tell it.
    """
    if name is not None:
        if name not in FORMATS:
            raise GrngError(
                f"there is no format {name!r}.",
                where="--format",
                hint=suggest(name, FORMATS, otherwise=f"Formats are {', '.join(FORMATS)}."),
            )
        return name
    if output is None:
        return None
    if output.suffix.lower() not in _ENDINGS:
        endings = ", ".join(_ENDINGS)
        hint = f"Add --format ({', '.join(FORMATS)}), or let the name end with one of {endings}."
        raise GrngError("its name does not tell the format.", where=f"--output {output}", hint=hint)
    return _ENDINGS[output.suffix.lower()]


def place_of(name: str, output: Path | None, directories: Sequence[Path]) -> Path | None:
    """Return the file to write; None: stdout.

    Raises:
        GrngError: A page is made from several directories, and none of them is its own.
    """
    if output is not None or name != "html":
        return output
    if len(directories) > 1:
        hint = f"Add --output FILE; from one directory it goes to DIR/{PAGE}."
        raise GrngError("a page of several directories needs a place.", where="--format html", hint=hint)
    return directories[0] / PAGE


def load(
    directories: Sequence[Path],
    *,
    reference: str | None = None,
    expect: Sequence[str] = (),
    columns: Sequence[str] = (),
    claims: Sequence[str] = (),
    margin: float | None = None,
    interval: str | None = None,
) -> Loaded:
    """Read the runs and judge them.

    Raises:
        GrngError: A directory holds no run, or something asked for does not fit the runs.
    """
    from grng.experiments.claims.expectations import parse
    from grng.experiments.claims.verdicts import judge_on_workloads
    from grng.experiments.questions import questions_of
    from grng.report.overall import over_workloads
    from grng.report.tables import summarise
    from grng.report.workloads import load_workloads

    workloads = load_workloads(directories, reference=reference)
    expectations = [parse(text, workloads.labels) for text in expect]
    asked = questions_of(workloads.labels, workloads.runs, claims=claims, margin=margin, interval=interval)
    tables = {
        name: summarise(one, columns=columns, margin=asked.margin, interval=asked.interval)
        for name, one in workloads.each.items()
    }
    judged = dict(zip(tables, judge_on_workloads(asked.claims, list(workloads.each.values())), strict=True))
    outcomes = {name: [one.evaluate(table) for one in expectations] for name, table in tables.items()}
    overall = over_workloads(workloads.each, tables) if workloads.several else None
    return Loaded(workloads, tables, overall, judged, outcomes, directories, asked.warnings)


def written(loaded: Loaded, name: str) -> str:
    """Return the report in one of the formats but html."""
    if name == "markdown":
        return _markdown(loaded)
    if name == "latex":
        from grng.report.latex import to_latex

        return "\n".join(to_latex(table, name=one) for one, table in loaded.tables.items())
    if name == "csv":
        from grng.report.runs_csv import runs_csv

        return runs_csv(loaded.workloads.each)
    return json.dumps(document(loaded), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(loaded: Loaded) -> dict[str, Any]:
    """Return the document that `--json` prints."""
    from grng_cli.summaries.compare import table_document
    from grng_cli.summaries.workloads import workloads_document

    if loaded.overall is not None:
        return workloads_document(
            loaded.tables, loaded.overall, loaded.judged, loaded.outcomes, loaded.workloads, loaded.directories
        )
    (name,) = loaded.tables
    return table_document(loaded.tables[name], loaded.judged[name], loaded.directories, loaded.outcomes[name])


def _markdown(loaded: Loaded) -> str:
    from grng.experiments.claims.report import claims_markdown
    from grng.report.export import to_markdown
    from grng_cli.summaries.workloads import workloads_markdown

    if loaded.overall is not None:
        return workloads_markdown(loaded.tables, loaded.overall, loaded.judged if loaded.has_claims else {})
    (name,) = loaded.tables
    parts = [to_markdown(loaded.tables[name])]
    return "\n".join([*parts, claims_markdown(loaded.judged[name])] if loaded.has_claims else parts)
