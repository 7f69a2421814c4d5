"""What a comparison over several workloads ends with: a table of each, then what holds over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng.runs.files import atomic_write_text
from grng_cli.layout import render
from grng_cli.output import Output
from grng_cli.summaries.compare import exit_code, print_directories, print_outcomes, print_table, table_document

if TYPE_CHECKING:
    from grng.experiments.claims.expectations import Expectation, Outcome
    from grng.experiments.claims.statements import Claim
    from grng.experiments.claims.verdicts import JudgedClaim
    from grng.report.overall import Overall
    from grng.report.tables import Table
    from grng.report.workloads import Workloads
    from grng.statistics import IntervalKind


def show_workloads(
    workloads: Workloads,
    expectations: Sequence[Expectation],
    printer: Output,
    *,
    claims: Sequence[Claim],
    columns: Sequence[str],
    margin: float | None,
    interval: IntervalKind,
    directories: Sequence[Path],
    markdown: Path | None,
    csv: Path | None,
) -> int:
    """Print the tables of all workloads and what holds over them, write the files asked for, return the exit code.

    Args:
        workloads: From `load_workloads`.
        expectations: What should hold on each.
        printer: Of the command.
        claims: Tested on each.
        columns: Further columns of the tables.
        margin: As `summarise` takes it.
        interval: As `summarise` takes it.
        directories: Where the runs are.
        markdown: A file to write, or None.
        csv: A file to write, or None.

    Raises:
        RunDirectoryError: A file cannot be written.
    """
    from grng.experiments.claims.verdicts import judge_on_workloads
    from grng.report.overall import over_workloads
    from grng.report.overall_export import workloads_csv
    from grng.report.tables import summarise

    tables = {
        name: summarise(one, columns=columns, margin=margin, interval=interval) for name, one in workloads.each.items()
    }
    overall = over_workloads(workloads.each, tables)
    judged = dict(zip(tables, judge_on_workloads(claims, list(workloads.each.values())), strict=True))
    outcomes = {name: [one.evaluate(table) for one in expectations] for name, table in tables.items()}
    if printer.json_only:
        printer.document(workloads_document(tables, overall, judged, outcomes, workloads, directories))
    else:
        for name, table in tables.items():
            print_table(table, printer, name=name)
            printer.data()
        _print_overall(overall, workloads.warnings, printer)
        if claims:
            _print_claims(judged, printer)
        print_outcomes(_together(outcomes), printer)
        print_directories(directories, printer)
    if markdown is not None:
        atomic_write_text(markdown, workloads_markdown(tables, overall, judged if claims else {}))
    if csv is not None:
        atomic_write_text(csv, workloads_csv(tables))
    for path in (markdown, csv):
        if path is not None:
            printer.chatter(f"wrote {path}")
    return exit_code(list(tables.values()), _together(outcomes))


def _print_overall(overall: Overall, warnings: Sequence[str], printer: Output) -> None:
    from grng.report.checks import plural
    from grng.report.overall_export import overall_columns, overall_notes, overall_sentences

    columns = overall_columns(overall)
    count = plural(len(overall.workloads), "workload")
    printer.sentence(f"over {count}: {', '.join(overall.workloads)}")
    if len(columns) > 1:
        printer.data()
        printer.essential(render(columns, printer.table_width))
        printer.data()
    for sentence in overall_sentences(overall):
        printer.prose(sentence)
    printer.data()
    for warning in warnings:
        printer.warning(warning)
    for note in overall_notes(overall):
        printer.prose(f"note: {note}")


def _print_claims(judged: Mapping[str, Sequence[JudgedClaim]], printer: Output) -> None:
    from grng.experiments.claims.workloads import detail_columns, verdict_columns, workload_claim_remarks

    for columns in (verdict_columns(judged), detail_columns(judged)):
        printer.data()
        printer.essential(render(columns, printer.table_width))
    printer.data()
    for remark in workload_claim_remarks(judged):
        printer.prose(f"note: {remark}")


def _together(outcomes: Mapping[str, Sequence[Outcome]]) -> list[Outcome]:
    """Return each expectation once: it holds where it holds on every workload, whose values it says."""
    together = []
    for of_one in zip(*outcomes.values(), strict=True):
        lines = [
            f"{name}: {'holds' if one.holds else 'does not hold'}: {one.explanation}"
            for name, one in zip(outcomes, of_one, strict=True)
        ]
        holds = all(one.holds for one in of_one)
        together.append(replace(of_one[0], holds=holds, explanation="\n  ".join(lines), values={}))
    return together


def workloads_document(
    tables: Mapping[str, Table],
    overall: Overall,
    judged: Mapping[str, Sequence[JudgedClaim]],
    outcomes: Mapping[str, Sequence[Outcome]],
    workloads: Workloads,
    directories: Sequence[Path],
) -> dict[str, Any]:
    """Return the JSON document of several workloads."""
    from grng.experiments.claims.workloads import workload_claims_as_dicts
    from grng.report.export import SCHEMA_VERSION
    from grng.report.overall_export import overall_dict

    roots = {
        name: list(dict.fromkeys(run.root or run.directory for run in one.runs)) for name, one in workloads.each.items()
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "workloads": [
            {"name": name, **table_document(table, judged[name], roots[name], outcomes[name])}
            for name, table in tables.items()
        ],
        **overall_dict(overall),
        "claims": workload_claims_as_dicts(judged),
        "expectations": [
            {
                "text": of_one[0].text,
                "holds": all(one.holds for one in of_one),
                "workloads": {name: one.holds for name, one in zip(outcomes, of_one, strict=True)},
            }
            for of_one in zip(*outcomes.values(), strict=True)
        ],
        "warnings": list(workloads.warnings),
        "directories": [str(directory) for directory in directories],
    }


def workloads_markdown(
    tables: Mapping[str, Table], overall: Overall, judged: Mapping[str, Sequence[JudgedClaim]]
) -> str:
    """Return the tables of several workloads as GitHub shows them; no claims where `judged` is empty."""
    from grng.experiments.claims.workloads import workload_claims_markdown
    from grng.report.export import markdown_text, to_markdown
    from grng.report.overall_export import overall_markdown

    parts = [f"## {markdown_text(name)}\n\n{to_markdown(table)}" for name, table in tables.items()]
    parts.append(f"## Over all workloads\n\n{overall_markdown(overall)}")
    if judged:
        parts.append(f"## Claims\n\n{workload_claims_markdown(judged)}")
    return "\n".join(parts)
