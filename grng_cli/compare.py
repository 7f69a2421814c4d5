"""`grng compare`: several optimizers, several seeds, one table."""

# No `from __future__ import annotations`: Typer would evaluate the text of every annotation, twice, for `--help`.
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grng_cli import (
    data_options,
    diagnostics_options,
    model_options,
    options,
    processes,
    statistics_options,
    training_options,
)
from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.experiments.compare import Comparison, Prepared


def compare(
    config: options.Config = None,
    optimizers: Annotated[
        str | None,
        typer.Option(
            "--optimizers",
            help="A comma list of names, hyperparameters in brackets: adamw,ring,'ring\\[rho=0.1,damping=0.01]'.",
            autocompletion=options.complete_optimizers,
            rich_help_panel="Workload",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="How many, or a comma list of seeds.", rich_help_panel="Workload")
    ] = None,
    model: options.Model = None,
    dataset: options.Dataset = None,
    img_size: options.ImgSize = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            help="Training seconds per run, instead of --epochs; each optimizer's step is measured once.",
            rich_help_panel="Training",
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    schedule: options.Schedule = None,
    warmup: options.Warmup = None,
    eval_every: options.EvalEvery = None,
    target: options.Target = None,
    loss: training_options.Loss = None,
    grad_accum: training_options.GradAccum = None,
    clip_grad: training_options.ClipGrad = None,
    ema: training_options.Ema = None,
    precision: training_options.Precision = None,
    mixup: training_options.Mixup = None,
    cutmix: training_options.Cutmix = None,
    label_smoothing: training_options.LabelSmoothing = None,
    pretrained: model_options.Pretrained = None,
    weights: model_options.Weights = None,
    weights_map: model_options.WeightsMap = None,
    freeze: model_options.Freeze = None,
    linear_probe: model_options.LinearProbe = None,
    lora: model_options.Lora = None,
    drop_path: model_options.DropPath = None,
    layer_decay: model_options.LayerDecay = None,
    no_decay: model_options.NoDecay = None,
    diagnostics: diagnostics_options.Diagnostics = None,
    diagnostics_every: diagnostics_options.DiagnosticsEvery = None,
    device: options.Device = None,
    compile_: training_options.Compile = None,
    channels_last: training_options.ChannelsLast = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            help="Runs at once, each on cores of its own; default: as many as there are cores. 0: in this process.",
            rich_help_panel="Running",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads-per-run", help="CPU threads of each run.", rich_help_panel="Running")
    ] = None,
    data_dir: data_options.DataDir = None,
    download: data_options.Download = None,
    strict_data: data_options.StrictData = None,
    data_workers: data_options.DataWorkers = None,
    flip: data_options.Flip = None,
    crop: data_options.Crop = None,
    auto_augment: data_options.AutoAugment = None,
    random_erasing: data_options.RandomErasing = None,
    set_: options.Set = None,
    output: options.OutputDirectory = None,
    smoke: options.Smoke = False,
    dry_run: options.DryRun = False,
    rerun: options.Rerun = False,
    reference: options.Reference = None,
    expect: options.Expect = None,
    columns: diagnostics_options.Columns = None,
    claim: statistics_options.Claim = None,
    margin: statistics_options.Margin = None,
    interval: statistics_options.Interval = None,
    plan: statistics_options.Plan = False,
    effect: statistics_options.Effect = None,
    spread: statistics_options.Spread = None,
    pilot: statistics_options.Pilot = None,
    power: statistics_options.Power = None,
    alpha: statistics_options.Alpha = None,
    markdown: options.Markdown = None,
    csv: options.Csv = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train several optimizers with several seeds and print one table; without options, seven on real digits.

    The same line again runs only what is missing.
    """
    processes.refuse_launcher("grng compare")
    flags = [
        ("optimizers", optimizers, "--optimizers"),
        ("seeds", seeds, "--seeds"),
        ("model.name", model, "--model"),
        ("dataset.name", dataset, "--dataset"),
        ("dataset.img_size", img_size, "--img-size"),
        ("training.epochs", epochs, "--epochs"),
        ("training.steps", steps, "--steps"),
        ("training.seconds", seconds, "--seconds"),
        ("training.batch_size", batch_size, "--batch-size"),
        ("training.schedule", schedule, "--schedule"),
        ("training.warmup", warmup, "--warmup"),
        ("training.eval_every", eval_every, "--eval-every"),
        ("training.target", target, "--target"),
        *training_options.overrides(
            loss, grad_accum, clip_grad, ema, precision, mixup, cutmix, label_smoothing, compile_, channels_last
        ),
        *model_options.overrides(
            pretrained, weights, weights_map, freeze, linear_probe, lora, drop_path, layer_decay, no_decay
        ),
        ("diagnostics.names", diagnostics, "--diagnostics"),
        ("diagnostics.every", diagnostics_every, "--diagnostics-every"),
        ("machine.device", device, "--device"),
        ("machine.threads", threads, "--threads-per-run"),
        ("workers", workers, "--workers"),
        ("reference", reference, "--reference"),
        ("expect", expect or None, "--expect"),
        ("columns", columns, "--columns"),
        *statistics_options.overrides(claim, margin, interval, effect, spread, pilot, power, alpha),
        ("output", output and str(output), "--output"),
        *data_options.flags(
            data_dir=data_dir,
            download=download,
            strict_data=strict_data,
            data_workers=data_workers,
            flip=flip,
            crop=crop,
            auto_augment=auto_augment,
            random_erasing=random_erasing,
            dry_run=dry_run,
        ),
    ]
    printer = Output(json_only=json, quiet=quiet)
    from grng_cli.compare_summary import check_files

    check_files(markdown, csv)
    statistics_options.check_planning_flags(flags, plan=plan, dry_run=dry_run)
    with printer.busy("loading torch and timm"):
        inert = dry_run or plan
        prepared, expectations = _prepare(
            flags, config, set_, smoke=smoke, start_workers=not inert and workers != 0, download=not inert, plan=plan
        )
    for line in (*prepared.notes, *_tuning(prepared)):
        printer.chatter(line)
    if dry_run:
        _describe(prepared, printer)
        return
    if plan:
        from grng_cli.planning import show_plan

        show_plan(prepared, printer)
        return
    _warn_of_few_seeds(prepared, printer)
    comparison = _run(prepared, printer, rerun=rerun)
    if isinstance(comparison, int):
        raise typer.Exit(comparison)
    printer.chatter("")
    raise typer.Exit(_report(comparison, prepared, expectations, printer, markdown=markdown, csv=csv))


def _prepare(
    flags: Sequence[tuple[str, Any, str]],
    configs: Sequence[str] | None,
    sets: Sequence[str] | None,
    *,
    smoke: bool,
    start_workers: bool,
    download: bool,
    plan: bool,
) -> tuple["Prepared", list[Any]]:
    """Check everything before anything runs; meanwhile the fork server loads torch."""
    from grng.experiments.compare_config import CompareConfig
    from grng_cli.sources import load, located

    loaded = load(CompareConfig, flags, configs=configs, smoke="compare/smoke" if smoke else None, sets=sets)
    labels = [spec.label for spec in loaded.config.specs]

    from grng.experiments.expectations import parse

    expectations = [parse(text, labels) for text in loaded.config.expect]
    if loaded.config.claims:
        from grng.experiments.claims import parse_claims

        parse_claims(loaded.config.claims, labels, locate=loaded.locate)
    if plan:
        from grng.experiments.seed_plan import check_planning

        check_planning(loaded.config)
    if start_workers:
        from grng.experiments.server import start_early

        start_early()

    from grng.experiments.compare import prepare

    with located(loaded):
        return prepare(loaded.config, locate=loaded.locate, download=download), expectations


def _tuning(prepared: "Prepared") -> list[str]:
    """Say how the rows were tuned that sweeps were named for."""
    from grng.experiments.tuned import tuning_notes

    config = prepared.config
    rows = {entry.spec.label: entry.sweep for entry in config.optimizers}
    names = [entry.name for entry in config.optimizers]
    return tuning_notes(rows, names, model=config.model.name, dataset=config.dataset.name)


def _warn_of_few_seeds(prepared: "Prepared", printer: Output) -> None:
    """Say what the comparison cannot show, before the compute is spent."""
    from grng.experiments.claim_verdicts import remarks_of_few_seeds
    from grng.report.checks import power_note

    config = prepared.config
    for warning in remarks_of_few_seeds(len(config.seeds), claims=len(config.claims), margin=config.margin):
        printer.warning(warning)
    note = power_note(len(prepared.config.seeds), len(prepared.labels) - 1)
    if note:
        printer.chatter(f"note: {note}")


def _run(prepared: "Prepared", printer: Output, *, rerun: bool) -> "Comparison | int":
    """Do the runs, showing progress; return what came of them, or the exit code when stopped."""
    from grng.experiments.compare import compare as compare_runs
    from grng.training.errors import Interrupted
    from grng_cli.compare_progress import CompareProgress
    from grng_cli.stopping import Terminated, terminate_as_interrupt

    progress = CompareProgress(printer)
    try:
        with terminate_as_interrupt(), progress:
            return compare_runs(
                prepared,
                on_event=progress,
                on_plan=progress.planned,
                on_calibrated=progress.calibrated,
                rerun=rerun,
            )
    except (KeyboardInterrupt, Interrupted) as error:
        terminated = isinstance(error, Terminated) or getattr(error, "exit_code", 130) == 143
        how = "terminated" if terminated else "interrupted"
        state = (
            f"{progress.ended} of {progress.total} runs have ended, the others are saved in {prepared.directory}"
            if progress.total
            else "no run had begun"
        )
        printer.warning(f"{how}: {state}\n  go on with: {options.invocation()}")
        return 143 if terminated else 130


def _report(
    comparison: "Comparison",
    prepared: "Prepared",
    expectations: Sequence[Any],
    printer: Output,
    *,
    markdown: Path | None,
    csv: Path | None,
) -> int:
    from grng.experiments.claim_verdicts import judge_claims
    from grng.experiments.claims import parse_claims
    from grng.report.load import load_experiment
    from grng.report.tables import summarise
    from grng_cli.compare_summary import show

    config, directories = prepared.config, [comparison.directory]
    experiment = load_experiment(comparison.directory)
    table = summarise(experiment, columns=config.shown_columns, margin=config.margin, interval=config.interval)
    claims = judge_claims(parse_claims(config.claims, prepared.labels), experiment)
    return show(table, expectations, printer, claims=claims, directories=directories, markdown=markdown, csv=csv)


def _describe(prepared: "Prepared", printer: Output) -> None:
    from grng.experiments.compare import planned_now
    from grng_cli.dry_run import describe

    runs = [(run.label, run.seed, run.config, run.directory) for run in planned_now(prepared)]
    describe(runs, printer, workers=max(1, len(prepared.slots)))
