"""`grng replay`: a run done again, and whether it came to the same."""

# No `from __future__ import annotations`: Typer would evaluate the text of every annotation, twice, for `--help`.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grng_cli import processes
from grng_cli.options import common as options
from grng_cli.options import terminal as terminal_options
from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.report.replayed import Replayed
    from grng.runs.config import RunConfig


def replay(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Directories of runs, of experiments' runs too.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where the replay goes, of several runs a folder each; default: a directory under runs/.",
            rich_help_panel="Running",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="auto, cpu, cuda, …; default: as the run had it, if it is there.",
            rich_help_panel="Running",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", help="CPU threads; default: as many as the run had.", rich_help_panel="Running"),
    ] = None,
    rerun: Annotated[
        bool,
        typer.Option("--rerun", help="Do a replay again that is there already.", rich_help_panel="Running"),
    ] = False,
    no_progress: terminal_options.NoProgress = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Do a run again, same config and seeds, and say which digits of its metrics changed and why they may.

    The run itself is only read. Exit code 1: what matters differs although versions and machine are the same.
    """
    processes.refuse_launcher("grng replay")
    from grng.experiments.replay import check_output, default_output, replay_config

    printer = Output(json_only=json, quiet=quiet, progress=not no_progress)
    with printer.busy("loading torch and timm"):
        planned = []
        for run in runs:
            config = replay_config(run, device=device, threads=threads)
            place = default_output(config) if output is None else output
            place = place / _folder(config) if output is not None and len(runs) > 1 else place
            check_output(run, config, place)
            planned.append((run, config, place))
    _check_places([place for _, _, place in planned])
    outcomes: list[Replayed] = []
    for run, config, place in planned:
        outcome = _run(run, config, place, printer, rerun=rerun)
        if isinstance(outcome, int):
            raise typer.Exit(outcome)
        outcomes.append(outcome)
        if not json:
            from grng_cli.summaries.replay import show

            show(outcome, printer)
    if json:
        printer.document({"replays": [outcome.as_dict() for outcome in outcomes]})
    raise typer.Exit(max(outcome.exit_code for outcome in outcomes))


def _folder(config: "RunConfig") -> str:
    from grng.experiments.replay import default_output

    return default_output(config).name


def _check_places(places: list[Path]) -> None:
    from grng.errors import GrngError

    twice = next((place for index, place in enumerate(places) if place in places[:index]), None)
    if twice is not None:
        raise GrngError("two of the runs are the same one.", where=str(twice), hint="Name each run once.")


def _run(run: Path, config: "RunConfig", place: Path, printer: Output, *, rerun: bool) -> "Replayed | int":
    """Do a replay, showing progress; return what came of it, or the exit code when stopped."""
    from grng.experiments.replay import replay as replay_run
    from grng.training.errors import Interrupted
    from grng.training.events import RunEnded
    from grng_cli.live.train_progress import TrainProgress
    from grng_cli.stopping import how_stopped

    progress = TrainProgress(printer)

    def listen(event: object) -> None:
        progress(event)
        if isinstance(event, RunEnded) and event.reused:
            printer.chatter(f"reused: {place} holds this replay (do it again with --rerun)")

    try:
        with progress:
            trainer = processes.trainer_of(config)
            return replay_run(run, config, place, rerun=rerun, listeners=[listen], trainer=trainer)
    except Interrupted as error:
        how, code = how_stopped(error)
        printer.warning(f"{how}: {error.message}\n  go on with: {options.invocation()}")
        return code
