"""`grng sweep`: the best hyperparameters of one optimizer, on validation data."""

# No `from __future__ import annotations`: Typer would evaluate the text of every annotation, twice, for `--help`.
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grng_cli.options import common as options
from grng_cli.options import data as data_options
from grng_cli.options import diagnostics as diagnostics_options
from grng_cli.options import model as model_options
from grng_cli.options import pool as pool_options
from grng_cli.options import report as report_options
from grng_cli.options import sensitivity as sensitivity_options
from grng_cli.options import sweep as sweep_options
from grng_cli.options import terminal as terminal_options
from grng_cli.options import training as training_options
from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.experiments.sweeps.plan import PreparedSweep
    from grng.experiments.sweeps.summary import Summary

RUN_FAILED = 1


def sweep(
    sweep_config: sweep_options.ConfigArgument = None,
    config: options.Config = None,
    model: options.Model = None,
    dataset: options.Dataset = None,
    img_size: options.ImgSize = None,
    optimizer: sweep_options.Optimizer = None,
    opt: sweep_options.Opt = None,
    trials: sweep_options.Trials = None,
    space: sweep_options.Space = None,
    sampler: sweep_options.Sampler = None,
    objective: sweep_options.Objective = None,
    tuning_seeds: sweep_options.TuningSeeds = None,
    pruner: sweep_options.Pruner = None,
    seed: sweep_options.Seed = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
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
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            "--checkpoint-every",
            help="Steps between checkpoints, besides those by time and at every epoch's end.",
            rich_help_panel="Running",
        ),
    ] = None,
    device: options.Device = None,
    compile_: training_options.Compile = None,
    channels_last: training_options.ChannelsLast = None,
    workers: pool_options.Workers = None,
    threads: pool_options.Threads = None,
    gpus_per_run: pool_options.GpusPerRun = None,
    oversubscribe: pool_options.Oversubscribe = None,
    timeout: pool_options.Timeout = None,
    engine: pool_options.Engine = None,
    address: pool_options.Address = None,
    tensorboard: Annotated[
        bool | None,
        typer.Option("--tensorboard/--no-tensorboard", help="Write TensorBoard logs.", rich_help_panel="Running"),
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
    map_: sensitivity_options.Map = None,
    report: report_options.Report = None,
    markdown: options.Markdown = None,
    plot: terminal_options.Plot = False,
    no_progress: terminal_options.NoProgress = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Search an optimizer's hyperparameters and write the best configuration; without options, RING's on real digits.

    The same line again goes on where it stopped; several at once share the trials.
    """
    flags = [
        ("model.name", model, "--model"),
        ("dataset.name", dataset, "--dataset"),
        ("dataset.img_size", img_size, "--img-size"),
        ("optimizer.name", optimizer, "--optimizer"),
        *sweep_options.overrides(space, trials, sampler, objective, tuning_seeds, pruner, seed),
        *pool_options.overrides(workers, threads, gpus_per_run, oversubscribe, timeout, engine, address),
        ("maps", map_ or None, "--map"),
        ("training.epochs", epochs, "--epochs"),
        ("training.steps", steps, "--steps"),
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
        ("logging.checkpoint_every", checkpoint_every, "--checkpoint-every"),
        ("logging.tensorboard", tensorboard, "--tensorboard"),
        ("machine.device", device, "--device"),
        ("report", report, "--report"),
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
    from grng_cli.summaries.compare import check_files

    check_files(markdown)
    printer = Output(json_only=json, quiet=quiet, progress=not no_progress)
    configs = [*([sweep_config] if sweep_config else []), *(config or [])]
    with printer.busy("loading torch and timm"):
        prepared = _prepare(
            flags,
            configs,
            set_,
            opt,
            smoke=smoke,
            start_workers=not dry_run and workers != 0,
            download=not dry_run,
            rerun=rerun,
        )
    for line in prepared.notes:
        printer.chatter(line)
    if dry_run:
        from grng_cli.summaries.sweep import describe

        describe(prepared, printer)
        return
    from grng.experiments.disk import needed_by_sweep
    from grng_cli.disk import warn_before_start

    warn_before_start(lambda: needed_by_sweep(prepared), printer)
    summary = _run(prepared, printer, rerun=rerun)
    if isinstance(summary, int):
        raise typer.Exit(summary)
    from grng_cli.summaries.sweep import show, write_markdown

    show(summary, printer)
    if plot:
        from grng_cli.plots import plot_sweep

        plot_sweep(summary, printer)
    if markdown is not None:
        write_markdown(summary, markdown)
    if prepared.config.report:
        from grng_cli.report_page import write_at_end

        write_at_end(prepared.directory, printer)
    raise typer.Exit(RUN_FAILED if summary.best is None else 0)


def _prepare(
    flags: Sequence[tuple[str, Any, str]],
    configs: Sequence[str],
    sets: Sequence[str] | None,
    opts: Sequence[str] | None,
    *,
    smoke: bool,
    start_workers: bool,
    download: bool,
    rerun: bool,
) -> "PreparedSweep":
    """Check everything before anything runs; meanwhile the fork server loads torch."""
    from grng.experiments.sweeps.config import SweepConfig
    from grng_cli.sources import load, located

    loaded = load(SweepConfig, flags, configs=configs, smoke="sweep/smoke" if smoke else None, sets=sets, opts=opts)
    from grng.experiments.head_start import trials_seem_done
    from grng.experiments.pool.server import start_early

    start_workers = start_workers and loaded.config.pool.engine == "local"
    if start_workers and (rerun or not trials_seem_done(loaded.config)):
        start_early()

    from grng.experiments.sweeps.plan import prepare

    with located(loaded):
        prepared = prepare(loaded.config, locate=loaded.locate, download=download, rerun=rerun)
    if start_workers and not prepared.complete:
        start_early()
    return prepared


def _run(prepared: "PreparedSweep", printer: Output, *, rerun: bool) -> "Summary | int":
    """Do the trials, showing progress; return what came of them, or the exit code when stopped."""
    from grng.experiments.sweeps.sweep import sweep as run_sweep
    from grng.training.errors import Interrupted
    from grng_cli.live.sweep_progress import SweepProgress
    from grng_cli.stopping import how_stopped, terminate_as_interrupt

    progress = SweepProgress(printer, prepared)
    try:
        with terminate_as_interrupt(), progress:
            return run_sweep(prepared, on_trial=progress.ended, on_event=progress, on_look=progress.look, rerun=rerun)
    except (KeyboardInterrupt, Interrupted) as error:
        how, code = how_stopped(error)
        printer.warning(
            f"{how}: {progress.count} of {prepared.total} trials have ended, the others are saved in "
            f"{prepared.directory}\n  go on with: {options.invocation()}"
        )
        return code
