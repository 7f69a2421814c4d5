"""From runs to the sections of the page, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from grng.errors import GrngError
from grng.report.checks import plural
from grng.report.export import to_csv
from grng.report.html import cost_figures, grids, run_figures, sweeps
from grng.report.html.blocks import Block, Download, Downloads, Figure, Heading, Prose, Section, grid_of
from grng.report.html.content import Content, Part
from grng.report.html.curve_figures import curve_figure
from grng.report.html.curves import Logs, curves_of, read_logs
from grng.report.html.diagnostics import diagnostics_blocks
from grng.report.html.replay_blocks import experiment_blocks, sweep_blocks
from grng.report.html.tuning_figures import profile_figure, tuning_figure
from grng.report.html.verdict import headline, progress
from grng.report.overall_export import overall_columns, overall_notes, overall_sentences, workloads_csv
from grng.report.records import Experiment
from grng.report.runs_csv import runs_csv
from grng.report.sentences import sentences
from grng.report.tuning_tables import curve_columns, curve_remarks, value_columns


@dataclass(slots=True)
class _Page:
    content: Content
    logs: Mapping[str, Logs] = field(default_factory=dict)


def sections_of(content: Content) -> list[Section]:
    """Return the sections that have something to say."""
    page = _Page(content, {part.name: read_logs(part.experiment) for part in content.parts})
    made = [
        Section("verdict", "Verdict", list(_verdict(page))),
        Section("results", "Results", list(_results(page))),
        Section("curves", "Accuracy and training loss", list(_curves(page))),
        Section("target", "Steps and time to the target", list(_target(page))),
        Section("cost", "Cost of a step, and memory", list(_cost(page))),
        Section("pairs", "Seed by seed", list(_pairs(page))),
        Section("tuning", "Profiles and tuning", list(_tuning(page))),
        Section("sensitivity", "Sensitivity to hyperparameters", list(_sensitivity(page))),
        Section("diagnostics", "Diagnostics of the optimizers", list(_diagnostics(page))),
        Section("claims", "Claims", list(content.claims)),
        Section("coverage", "Coverage", list(_coverage(page))),
        Section("failures", "Runs that did not finish", list(_failures(page))),
        Section("replay", "Environment and replay", list(_replay(page))),
        Section("downloads", "Downloads", list(_downloads(page))),
    ]
    return [section for section in made if section.blocks]


def _named(page: _Page, part: Part, blocks: Sequence[Block | None]) -> Iterator[Block]:
    """Yield blocks of a workload, under its name where there are several."""
    there = [block for block in blocks if block is not None]
    if there and (len(page.content.parts) > 1 or page.content.sweeps):
        yield Heading(part.name)
    yield from there


def _verdict(page: _Page) -> Iterator[Block]:
    content = page.content
    going_on = progress([part.experiment for part in content.parts])
    if going_on:
        yield Prose((going_on,), "warning")
    if content.warnings:
        yield Prose(tuple(content.warnings), "warning")
    if content.overall is not None:
        lines = overall_sentences(content.overall)
        if lines:
            yield Prose(tuple(f"{line[:1].upper()}{line[1:]}." for line in lines), "lead")
        yield Prose(tuple(overall_notes(content.overall)), "note")
    for part in content.parts:
        table = part.table
        yield from _named(
            page,
            part,
            [
                Prose(tuple(headline(table)), "lead"),
                Prose(table.warnings, "warning") if table.warnings else None,
                Prose(table.notes, "note") if table.notes else None,
                Prose(tuple(sentences(table)), title="Sentences to quote, row by row", folded=True),
            ],
        )
    for sweep in content.sweeps:
        yield Heading(sweep.name)
        yield Prose(tuple(sweeps.verdict_lines(sweep)), "lead")
        yield from sweeps.warning_prose(sweep)


def _results(page: _Page) -> Iterator[Block]:
    content = page.content
    if content.overall is not None:
        columns = overall_columns(content.overall)
        if len(columns) > 1:
            yield grid_of(f"Over {plural(len(content.overall.workloads), 'workload')}", columns)
    for part in content.parts:
        yield from _named(page, part, [grids.result_grid(part.experiment, part.table, part.name)])
    for sweep in content.sweeps:
        yield sweeps.trial_grid(sweep)


def _curves(page: _Page) -> Iterator[Block]:
    how = (
        "Lines are means over the runs that finished, bands their 95 % Student-t intervals; dotted: runs that did not "
        "finish."
    )
    for part in page.content.parts:
        logs = page.logs[part.name]
        figures: list[Block | None] = []
        for name, title, y in (
            ("val_accuracy", "Validation accuracy", "validation accuracy"),
            ("train_loss", "Training loss", "loss of a step's batch, nats"),
            ("val_loss", "Validation loss", "validation loss, nats"),
        ):
            rows = curves_of(logs, name)
            if rows:
                figures.append(curve_figure(title, rows, y, by_steps=logs.by_steps, text=how))
        figures = [*figures[:2], *(_folded(figure) for figure in figures[2:])]
        if logs.left_out:
            figures.append(
                Prose(
                    (f"Of {plural(logs.left_out, 'more run')} the curves are left out, to keep the page small.",),
                    "note",
                )
            )
        yield from _named(page, part, figures)
    for sweep in page.content.sweeps:
        figure = sweeps.trials_figure(sweep)
        if figure is not None:
            yield from (Heading(sweep.name), figure)


def _folded(block: Block | None) -> Block | None:
    return replace(block, folded=True) if isinstance(block, Figure) else block


def _target(page: _Page) -> Iterator[Block]:
    for part in page.content.parts:
        figure = run_figures.target_figure(part.experiment, part.table)
        never = [row.label for row in part.table.rows if row.target_runs and not row.reached]
        note = Prose((f"Never reached by {', '.join(never)}.",)) if never else None
        yield from _named(page, part, [figure, note])


def _cost(page: _Page) -> Iterator[Block]:
    for part in page.content.parts:
        marked = [row.label for row in part.table.rows if row.time_mark]
        note = (
            Prose((f"Times of {', '.join(marked)} are not comparable: see the warnings.",), "note") if marked else None
        )
        figures = [cost_figures.cost_figure(part.experiment), cost_figures.memory_figure(part.experiment)]
        yield from _named(page, part, [figures[0], note if figures[0] else None, figures[1]])


def _pairs(page: _Page) -> Iterator[Block]:
    for part in page.content.parts:
        if len(part.table.rows) > 1:
            yield from _named(page, part, [run_figures.paired_figure(part.experiment, part.table)])


def _tuning(page: _Page) -> Iterator[Block]:
    overall = page.content.overall
    if overall is not None:
        for kind, profiles in (("steps", overall.steps), ("time", overall.time)):
            if profiles is not None:
                yield profile_figure(kind, profiles, overall.labels)
    for part in page.content.parts:
        table = part.table
        if not table.tuning:
            continue
        blocks: list[Block | None] = [grid_of("What tuning found", value_columns(table))]
        if table.curves:
            blocks += [
                tuning_figure(table.curves, table.labels),
                grid_of("What fewer trials would have found", curve_columns(table), folded=True),
                Prose(tuple(curve_remarks(table)), "note"),
            ]
        yield from _named(page, part, blocks)
    for sweep in page.content.sweeps:
        figure = sweeps.fewer_figure(sweep)
        if figure is not None:
            yield from (Heading(sweep.name), figure)


def _sensitivity(page: _Page) -> Iterator[Block]:
    for part in page.content.parts:
        blocks: list[Block | None] = []
        for label, folder in _sweep_folders(part.experiment):
            try:
                blocks += sweeps.map_figures(sweeps.read_sweep(folder, label))
            except GrngError:
                continue
        yield from _named(page, part, blocks)
    for sweep in page.content.sweeps:
        yield from sweeps.map_figures(sweep)


def _sweep_folders(experiment: Experiment) -> Iterator[tuple[str, Path]]:
    """Yield each tuned row with its sweep's directory."""
    for label, tuning in experiment.tuning.items():
        root = next((run.root for run in experiment.of(label) if run.root is not None), None)
        if root is not None:
            yield label, root / tuning.directory


def _diagnostics(page: _Page) -> Iterator[Block]:
    for part in page.content.parts:
        yield from _named(page, part, diagnostics_blocks(page.logs[part.name]))


def _coverage(page: _Page) -> Iterator[Block]:
    for part in page.content.parts:
        yield from _named(page, part, grids.coverage_grids(part.experiment))


def _failures(page: _Page) -> Iterator[Block]:
    for part in page.content.parts:
        yield from _named(page, part, [grids.failure_grid(part.experiment.runs)])
    for sweep in page.content.sweeps:
        grid = sweeps.failed_trials(sweep)
        if grid is not None:
            yield grid


def _replay(page: _Page) -> Iterator[Block]:
    content = page.content
    runs = [run.result for part in content.parts for run in part.experiment.runs if run.result is not None]
    results = [*runs, *(result for sweep in content.sweeps for result in sweep.results)]
    environment = grids.environment_grid(results)
    if environment is not None:
        yield environment
    for place, part in enumerate(content.parts):
        prefix = _prefix(content.parts, place, "workload")
        yield from _named(page, part, experiment_blocks(part.experiment, prefix=prefix))
    for place, sweep in enumerate(content.sweeps):
        yield from sweep_blocks(sweep, prefix=_prefix(content.sweeps, place, "sweep"))


def _prefix(several: Sequence[object], place: int, what: str) -> str:
    return f"{what}{place + 1}-" if len(several) > 1 else ""


def _downloads(page: _Page) -> Iterator[Block]:
    content = page.content
    files: list[Download] = []
    if content.parts:
        tables = {part.name: part.table for part in content.parts}
        rows = to_csv(content.parts[0].table) if len(tables) == 1 else workloads_csv(tables)
        files.append(Download("rows.csv", "text/csv", rows))
        files.append(Download("runs.csv", "text/csv", runs_csv({part.name: part.experiment for part in content.parts})))
    if content.document:
        files.append(Download("report.json", "application/json", content.document))
    for sweep in content.sweeps:
        files += sweeps.sweep_files(sweep)
    if files:
        yield Downloads(tuple(files))
