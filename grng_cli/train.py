"""`grng train`: one run."""

# No `from __future__ import annotations`: Typer would evaluate the text of every annotation, twice, for `--help`.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grng_cli import processes
from grng_cli.options import common as options
from grng_cli.options import data as data_options
from grng_cli.options import diagnostics as diagnostics_options
from grng_cli.options import model as model_options
from grng_cli.options import terminal as terminal_options
from grng_cli.options import training as training_options
from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.runs.config import RunConfig


def train(
    config: options.Config = None,
    model: options.Model = None,
    dataset: options.Dataset = None,
    img_size: options.ImgSize = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer",
            help="An optimizer: `grng optimizers list`.",
            autocompletion=options.complete_optimizers,
            rich_help_panel="Workload",
        ),
    ] = None,
    opt: Annotated[
        list[str] | None,
        typer.Option(
            "--opt",
            metavar="NAME=VALUE",
            help="A hyperparameter of the optimizer, e.g. rho=0.1. Repeatable.",
            rich_help_panel="Workload",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything.", rich_help_panel="Training")] = None,
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
    threads: Annotated[
        int | None, typer.Option("--threads", help="CPU threads of torch.", rich_help_panel="Running")
    ] = None,
    processes_: processes.Processes = None,
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
    plot: terminal_options.Plot = False,
    no_progress: terminal_options.NoProgress = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train one model with one optimizer; without options, a small timm model on real digits with RING.

    The same line again goes on where it stopped, and reuses what is finished.
    """
    speaks = processes.begin(processes_)
    flags = [
        ("model.name", model, "--model"),
        ("dataset.name", dataset, "--dataset"),
        ("dataset.img_size", img_size, "--img-size"),
        ("optimizer.name", optimizer, "--optimizer"),
        ("seed", seed, "--seed"),
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
        ("machine.threads", threads, "--threads"),
        ("machine.processes", processes_, "--processes"),
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
    from grng.runs.config import RunConfig, resolve
    from grng_cli.sources import load, located

    printer = Output(json_only=json, quiet=quiet, progress=not no_progress)
    loaded = load(RunConfig, flags, configs=config, smoke="smoke" if smoke else None, sets=set_, opts=opt)
    processes.start_early(loaded.config)
    resolved = resolve(loaded.config, locate=loaded.locate)
    directory = resolved.output or _default_directory(resolved)
    with located(loaded):
        if dry_run:
            if speaks:
                _describe(resolved, directory, printer)
            return
        code = _run(resolved, directory, printer, rerun=rerun, plot=plot)
    raise typer.Exit(code)


def _default_directory(config: "RunConfig") -> Path:
    from grng.runs.identity import directory_name, run_id, short_id

    return Path("runs") / f"{directory_name(config.label or config.optimizer.name)}-{short_id(run_id(config))}"


def _run(config: "RunConfig", directory: Path, printer: Output, *, rerun: bool, plot: bool) -> int:
    """Train, showing progress and what came of it; return the exit code."""
    from grng.training.errors import Interrupted, Terminated
    from grng.training.events import RunEnded
    from grng_cli.live.train_progress import TrainProgress
    from grng_cli.summaries.train import show
    from grng_cli.wording import command

    train_run = processes.trainer_of(config)
    ended: list[RunEnded] = []
    progress = TrainProgress(printer)

    def listen(event: object) -> None:
        progress(event)
        if isinstance(event, RunEnded):
            ended.append(event)

    try:
        with progress:
            result = train_run(config, directory, listeners=[listen], on_existing="rerun" if rerun else "reuse")
    except Interrupted as error:
        resume = command("grng", "train", "--config", directory / "config.yaml", "--output", directory)
        how = "terminated" if isinstance(error, Terminated) else "interrupted"
        printer.warning(f"{how}: {error.message}\n  go on with: {resume}")
        return error.exit_code
    reused = any(event.reused for event in ended)
    show(result, directory, printer, reused=reused)
    if plot:
        from grng_cli.plots import plot_run

        plot_run(result, directory, printer)
    missing = diagnostics_options.not_measured(config, result) if reused else None
    if missing:
        printer.warning(missing)
    return {"finished": 0, "diverged": 3}.get(result.status, 1)


def _describe(config: "RunConfig", directory: Path, printer: Output) -> None:
    """Print what would be run."""
    from grng_cli.dry_run import describe

    describe([(config.label or "", config.seed, config, directory)], printer, directory=directory, workers=1)
