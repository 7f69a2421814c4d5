"""Options of how a step is done, for `grng train` and `grng compare`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

_TRAINING = "Training"
_RUNNING = "Running"


def _starting_with(*names: str) -> object:
    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


GradAccum = Annotated[
    int | None,
    typer.Option(
        "--grad-accum", help="Micro-batches that a step's batch is done in; divides it.", rich_help_panel=_TRAINING
    ),
]
ClipGrad = Annotated[
    float | None,
    typer.Option(
        "--clip-grad", help="Shorten the gradient to this norm before the optimizer's step.", rich_help_panel=_TRAINING
    ),
]
Ema = Annotated[
    float | None,
    typer.Option("--ema", metavar="DECAY", help="Evaluate a moving average of the weights.", rich_help_panel=_TRAINING),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="fp32, bf16 or fp16: autocast of forward and loss.",
        autocompletion=_starting_with("fp32", "bf16", "fp16"),
        rich_help_panel=_TRAINING,
    ),
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="auto, ce (softmax cross-entropy), bce (a binary one for each class) or mse (½‖z − y‖²).",
        autocompletion=_starting_with("auto", "ce", "bce", "mse"),
        rich_help_panel=_TRAINING,
    ),
]
Mixup = Annotated[
    float | None,
    typer.Option(
        "--mixup", metavar="ALPHA", help="Average pairs of images and their labels.", rich_help_panel=_TRAINING
    ),
]
Cutmix = Annotated[
    float | None,
    typer.Option(
        "--cutmix", metavar="ALPHA", help="Paste a rectangle from one image into another.", rich_help_panel=_TRAINING
    ),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option("--label-smoothing", help="Share of every label spread over all classes.", rich_help_panel=_TRAINING),
]
Compile = Annotated[
    bool | None,
    typer.Option("--compile/--no-compile", help="Compile the model with torch.compile.", rich_help_panel=_RUNNING),
]
ChannelsLast = Annotated[
    bool | None,
    typer.Option("--channels-last/--no-channels-last", help="Lay images out channels last.", rich_help_panel=_RUNNING),
]


def overrides(
    loss: str | None,
    grad_accum: int | None,
    clip_grad: float | None,
    ema: float | None,
    precision: str | None,
    mixup: float | None,
    cutmix: float | None,
    label_smoothing: float | None,
    compile_: bool | None,
    channels_last: bool | None,
) -> list[tuple[str, Any, str]]:
    """Return (key, value, flag) of these options, as the other flags are listed."""
    return [
        ("training.loss", loss, "--loss"),
        ("training.grad_accum", grad_accum, "--grad-accum"),
        ("training.clip_grad", clip_grad, "--clip-grad"),
        ("training.ema", ema, "--ema"),
        ("training.precision", precision, "--precision"),
        ("augment.mixup", mixup, "--mixup"),
        ("augment.cutmix", cutmix, "--cutmix"),
        ("augment.label_smoothing", label_smoothing, "--label-smoothing"),
        ("machine.compile", compile_, "--compile"),
        ("machine.channels_last", channels_last, "--channels-last"),
    ]
