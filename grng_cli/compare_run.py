"""What `grng compare` does once its flags are read: checks, runs, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng.runs.collection import collection_put_off
from grng_cli.options import common as options
from grng_cli.options import statistics as statistics_options
from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.experiments.compare import Prepared
    from grng.experiments.compare_config import CompareConfig
    from grng.experiments.tuning.tune import TrialsAhead
    from grng.experiments.workloads.compare import Comparisons, PreparedWorkloads
    from grng.runs.sources import Source

_SMOKE = "compare/smoke"


def run_comparison(
    flags: Sequence[tuple[str, Any, str]],
    configs: Sequence[str] | None,
    sets: Sequence[str] | None,
    printer: Output,
    *,
    smoke: bool,
    dry_run: bool,
    plan: bool,
    rerun: bool,
    in_process: bool,
    markdown: Path | None,
    csv: Path | None,
    plot: bool = False,
) -> int | None:
    """Check everything, do the runs that are not there, and report all of them.

    Args:
        flags: Key, value and name of every flag.
        configs: Files of `--config`.
        sets: Texts of `--set`.
        printer: Of the command.
        smoke: A few steps only.
        dry_run: Say what would be run.
        plan: Say how many seeds it takes.
        rerun: Do runs again that have a result.
        in_process: Whether `--workers 0` was given.
        markdown: A file to write, or None.
        csv: A file to write, or None.
        plot: Draw the curves.

    Returns:
        The exit code; None where nothing was run.

    Raises:
        GrngError: Something for the user to mend.
    """
    from grng_cli.summaries.compare import check_files

    check_files(markdown, csv)
    statistics_options.check_planning_flags(flags, plan=plan, dry_run=dry_run)
    with printer.busy("loading torch and timm"), collection_put_off():
        inert = dry_run or plan
        prepared, expectations = _prepare(
            flags,
            configs,
            sets,
            smoke=smoke,
            start_workers=not inert and not in_process,
            download=not inert,
            plan=plan,
            rerun=rerun,
        )
    from grng_cli.compare_report import report_done
    from grng_cli.summaries.tuning import tuning_lines

    for name, one in zip(prepared.names, prepared.each, strict=True):
        # The report says it again, so only where there is none.
        for line in (*one.notes, *(tuning_lines(one) if inert else ())):
            printer.chatter(f"{name}: {line}" if name else line)
    if dry_run:
        _describe(prepared, printer)
        return None
    if plan:
        from grng_cli.planning import show_plan

        show_plan(prepared, printer)
        return None
    _warn_of_few_seeds(prepared.each[0], printer)
    _warn_of_disk(prepared, printer)
    tuned = _tune(prepared, printer, rerun=rerun)
    if isinstance(tuned, int):
        return tuned
    comparison = _run(tuned, printer, rerun=rerun)
    if isinstance(comparison, int):
        return comparison
    printer.chatter("")
    with collection_put_off():
        code = report_done(comparison, tuned, expectations, printer, markdown=markdown, csv=csv)
    if tuned.each[0].config.report:
        from grng_cli.report_page import write_at_end

        write_at_end(comparison.directory, printer, columns=tuned.each[0].config.shown_columns)
    _show_curves(comparison, tuned, printer, plot=plot)
    return code


def _show_curves(comparison: Comparisons, prepared: PreparedWorkloads, printer: Output, *, plot: bool) -> None:
    """Bring TensorBoard's overview up to date, and draw the curves where that was asked for."""
    from grng_cli.summaries.overview import refresh_boards

    refresh_boards([one.directory for one in prepared.each], printer)
    if plot:
        from grng.report.workloads import load_workloads
        from grng_cli.plots import plot_workloads

        plot_workloads(load_workloads(comparison.directory), printer)


def _prepare(
    flags: Sequence[tuple[str, Any, str]],
    configs: Sequence[str] | None,
    sets: Sequence[str] | None,
    *,
    smoke: bool,
    start_workers: bool,
    download: bool,
    plan: bool,
    rerun: bool,
) -> tuple[PreparedWorkloads, list[Any]]:
    """Check everything before anything runs; meanwhile the fork server loads torch."""
    from grng.experiments.compare_config import CompareConfig
    from grng_cli.sources import load, located

    loaded = load(
        CompareConfig,
        flags,
        configs=configs,
        smoke=_SMOKE if smoke else None,
        sets=sets,
        adjust=partial(_settle, smoke=smoke),
    )
    labels = [spec.label for spec in loaded.config.specs]

    from grng.experiments.claims.expectations import parse

    expectations = [parse(text, labels) for text in loaded.config.expect]
    if loaded.config.claims:
        from grng.experiments.claims.statements import parse_claims

        parse_claims(loaded.config.claims, labels, locate=loaded.locate)
    if not (smoke or plan):
        _check_seeds(loaded.config, loaded.locate(("seeds",)))
    if plan:
        from grng.experiments.seed_plan import check_planning

        check_planning(loaded.config)
    from grng.experiments.head_start import all_seem_done
    from grng.experiments.pool.server import start_early

    start_workers = start_workers and loaded.config.pool.engine == "local"
    if start_workers and (rerun or not all_seem_done(loaded.config)):
        start_early()

    from grng.experiments.workloads.compare import prepare_workloads

    with located(loaded):
        prepared = prepare_workloads(loaded.config, locate=loaded.locate, download=download, rerun=rerun)
    if start_workers and any(one.planned and not one.complete for one in prepared.each):
        start_early()
    return prepared, expectations


def _check_seeds(config: CompareConfig, where: str) -> None:
    """Refuse to spend compute on a question that it cannot answer.

    Raises:
        GrngError: There are claims or a margin to be tested, and a single seed.
    """
    from grng.errors import GrngError
    from grng.experiments.claims.verdicts import remarks_of_few_seeds

    for remark in remarks_of_few_seeds(len(config.seeds), claims=len(config.claims), margin=config.margin):
        hint = "Give --seeds 2 or more (--plan says how many it takes), or leave the question out."
        raise GrngError(f"{remark}.", where=where, hint=hint)


def _settle(source: Source, *, smoke: bool) -> None:
    from grng.experiments.workloads.sources import settle_workloads
    from grng.runs.shipped import find_config

    settle_workloads(source, smoke=find_config(_SMOKE) if smoke else None)


def _tune(prepared: PreparedWorkloads, printer: Output, *, rerun: bool) -> PreparedWorkloads | int:
    """Tune rows on one workload after the other; return them with what was found, or the exit code when stopped."""
    from grng_cli.live.tuning_progress import run_tuning

    if any(one.sweeps for one in prepared.each):
        prepared.save_names()
    each = []
    for name, one in zip(prepared.names, prepared.each, strict=True):
        if name and one.sweeps:
            printer.chatter(f"tuning on {name}")
        tuned = run_tuning(one, printer, rerun=rerun)
        if isinstance(tuned, int):
            return tuned
        each.append(tuned)
    return replace(prepared, each=tuple(each))


def _warn_of_few_seeds(prepared: Prepared, printer: Output) -> None:
    """Say what the comparison cannot show, before the compute is spent."""
    from grng.experiments.claims.verdicts import remarks_of_few_seeds
    from grng.report.checks import power_note

    config = prepared.config
    for warning in remarks_of_few_seeds(len(config.seeds), claims=len(config.claims), margin=config.margin):
        printer.warning(warning)
    note = power_note(len(prepared.config.seeds), len(prepared.labels) - 1)
    if note:
        printer.chatter(f"note: {note}")


def _warn_of_disk(prepared: PreparedWorkloads, printer: Output) -> None:
    from grng.experiments.disk import needed_by_comparisons
    from grng_cli.disk import warn_before_start

    warn_before_start(lambda: needed_by_comparisons(prepared.each, prepared.directory), printer)


def _run(prepared: PreparedWorkloads, printer: Output, *, rerun: bool) -> Comparisons | int:
    """Do the runs, showing progress; return what came of them, or the exit code when stopped."""
    from grng.experiments.workloads.compare import compare_workloads
    from grng.training.errors import Interrupted
    from grng_cli.live.compare_progress import CompareProgress
    from grng_cli.stopping import how_stopped, terminate_as_interrupt

    total = prepared.run_count if prepared.several else None
    progress = CompareProgress(printer, total=total, workers=len(prepared.each[0].slots))
    try:
        with terminate_as_interrupt(), progress:
            return compare_workloads(
                prepared,
                on_workload=progress.workload,
                on_event=progress,
                on_plan=progress.planned,
                on_calibrated=progress.calibrated,
                rerun=rerun,
            )
    except (KeyboardInterrupt, Interrupted) as error:
        how, code = how_stopped(error)
        state = (
            f"{progress.ended} of {progress.total} runs have ended, the others are saved in {prepared.directory}"
            if progress.total
            else "no run had begun"
        )
        printer.warning(f"{how}: {state}\n  go on with: {options.invocation()}")
        return code


def _describe(prepared: PreparedWorkloads, printer: Output) -> None:
    from grng.experiments.compare import planned_now
    from grng.experiments.plan import result_there
    from grng.experiments.tuning.tune import expected, trials_ahead
    from grng.runs.index import RunIndex
    from grng_cli.dry_run import describe, row_name

    runs, names = [], []
    there: list[bool] = []
    unknown: set[str] = set()
    tuning: dict[str, TrialsAhead] = {}
    for name, one in zip(prepared.names, prepared.each, strict=True):
        planned = planned_now(one)
        runs += [(run.label, run.seed, run.config, run.directory) for run in planned]
        names += [name] * len(planned)
        index = one.index or RunIndex(one.directory)
        there += [result_there(run.directory, run.run_id, index) is not None for run in planned]
        unknown |= {row_name(name, label) for label in expected(one)[1]}
        tuning |= {row_name(name, label): trials for label, trials in trials_ahead(one).items()}
    describe(
        runs,
        printer,
        directory=prepared.directory,
        workers=max(1, len(prepared.each[0].slots)),
        workloads=[str(name) for name in names] if prepared.several else None,
        unknown=unknown,
        tuning=tuning,
        there=there,
    )
