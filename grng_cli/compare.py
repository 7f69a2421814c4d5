"""`grng compare`: several optimizers, several seeds, one table."""

# No `from __future__ import annotations`: Typer would evaluate the text of every annotation, twice, for `--help`.
from typing import Annotated

import typer

from grng_cli import processes
from grng_cli.options import common as options
from grng_cli.options import data as data_options
from grng_cli.options import diagnostics as diagnostics_options
from grng_cli.options import model as model_options
from grng_cli.options import pool as pool_options
from grng_cli.options import report as report_options
from grng_cli.options import statistics as statistics_options
from grng_cli.options import terminal as terminal_options
from grng_cli.options import training as training_options
from grng_cli.options import tuning as tuning_options
from grng_cli.options import workloads as workload_options
from grng_cli.output import Output


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
    model: workload_options.Models = None,
    dataset: workload_options.Datasets = None,
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
    target: tuning_options.Target = None,
    tune: tuning_options.Tune = None,
    tuning_seeds: tuning_options.TuningSeeds = None,
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
    workers: pool_options.Workers = None,
    threads: pool_options.Threads = None,
    gpus_per_run: pool_options.GpusPerRun = None,
    oversubscribe: pool_options.Oversubscribe = None,
    timeout: pool_options.Timeout = None,
    engine: pool_options.Engine = None,
    address: pool_options.Address = None,
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
    report: report_options.Report = None,
    markdown: options.Markdown = None,
    csv: options.Csv = None,
    plot: terminal_options.Plot = False,
    no_progress: terminal_options.NoProgress = False,
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
        *tuning_options.overrides(tune, tuning_seeds, target),
        *training_options.overrides(
            loss, grad_accum, clip_grad, ema, precision, mixup, cutmix, label_smoothing, compile_, channels_last
        ),
        *model_options.overrides(
            pretrained, weights, weights_map, freeze, linear_probe, lora, drop_path, layer_decay, no_decay
        ),
        ("diagnostics.names", diagnostics, "--diagnostics"),
        ("diagnostics.every", diagnostics_every, "--diagnostics-every"),
        ("machine.device", device, "--device"),
        *pool_options.overrides(workers, threads, gpus_per_run, oversubscribe, timeout, engine, address),
        ("reference", reference, "--reference"),
        ("expect", expect or None, "--expect"),
        ("columns", columns, "--columns"),
        *statistics_options.overrides(claim, margin, interval, effect, spread, pilot, power, alpha),
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
    from grng_cli.compare_run import run_comparison

    code = run_comparison(
        flags,
        config,
        set_,
        Output(json_only=json, quiet=quiet, progress=not no_progress),
        smoke=smoke,
        dry_run=dry_run,
        plan=plan,
        rerun=rerun,
        in_process=workers == 0,
        markdown=markdown,
        csv=csv,
        plot=plot,
    )
    if code is not None:
        raise typer.Exit(code)
