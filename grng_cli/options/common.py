"""Options that several commands share, each written once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def complete_optimizers(incomplete: str) -> list[str]:
    """Complete the last name of a comma list of optimizers."""
    from grng.optimizers import list_optimizers

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{info.name}" for info in list_optimizers() if info.name.startswith(last)]


def complete_datasets(incomplete: str) -> list[tuple[str, str]]:
    """Complete a data set's name; loads no torch."""
    from grng.data.doors import door_names
    from grng.data.registry import list_datasets

    names = [(info.name, info.summary) for info in list_datasets()]
    names += [(name, "pictures in files: --data-dir") for name in door_names()]
    return [(name, summary) for name, summary in names if name.startswith(incomplete)]


def complete_schedules(incomplete: str) -> list[str]:
    """Complete a schedule's name."""
    return [name for name in ("cosine", "constant", "linear", "step") if name.startswith(incomplete)]


def complete_configs(incomplete: str) -> list[str]:
    """Complete the names of the shipped configs."""
    from grng_cli.sources import shipped_configs

    return [name for name in shipped_configs() if name.startswith(incomplete)]


def invocation() -> str:
    """Return this command line as one can type it again to go on, so without --rerun."""
    import shlex

    return shlex.join(["grng", *(part for part in sys.argv[1:] if part != "--rerun")])


_WORKLOAD = "Workload"
_TRAINING = "Training"
_RUNNING = "Running"
_PRINTING = "Output"

Config = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="YAML file, or the name of a shipped config; repeatable, later ones win. Flags win over files.",
        autocompletion=complete_configs,
        rich_help_panel=_RUNNING,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any key of the config, e.g. augment.flip=0.5.", rich_help_panel=_RUNNING
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="A timm model, or two_layer: `grng models list`.", rich_help_panel=_WORKLOAD),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="A data set: `grng datasets list`.",
        autocompletion=complete_datasets,
        rich_help_panel=_WORKLOAD,
    ),
]
ImgSize = Annotated[
    int | None,
    typer.Option("--img-size", help="Height and width in pixels; default: the data set's.", rich_help_panel=_WORKLOAD),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the training data.", rich_help_panel=_TRAINING)
]
Steps = Annotated[
    int | None, typer.Option("--steps", help="Optimizer steps, instead of --epochs.", rich_help_panel=_TRAINING)
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Images per step.", rich_help_panel=_TRAINING)]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="cosine, constant, linear or step.",
        autocompletion=complete_schedules,
        rich_help_panel=_TRAINING,
    ),
]
Warmup = Annotated[
    int | None,
    typer.Option("--warmup", help="Steps over which the learning rate rises.", rich_help_panel=_TRAINING),
]
EvalEvery = Annotated[
    int | None,
    typer.Option(
        "--eval-every", help="Steps between evaluations, besides every epoch's end.", rich_help_panel=_TRAINING
    ),
]
Target = Annotated[
    float | None,
    typer.Option(
        "--target",
        help="Validation accuracy to reach, a fraction; default: the data set's.",
        rich_help_panel=_TRAINING,
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, …", rich_help_panel=_RUNNING)]
OutputDirectory = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Where the results go; default: a directory under runs/ named after what is run.",
        rich_help_panel=_RUNNING,
    ),
]
Smoke = Annotated[
    bool, typer.Option("--smoke", help="A few steps only, to see that all works.", rich_help_panel=_RUNNING)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would be run, for how long and on how much disk.", rich_help_panel=_RUNNING
    ),
]
Rerun = Annotated[
    bool,
    typer.Option("--rerun", help="Run again what is there already; its results are lost.", rich_help_panel=_RUNNING),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout, nothing else.", rich_help_panel=_PRINTING),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the essential only.", rich_help_panel=_PRINTING)]
Markdown = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="FILE", help="Write the table as Markdown.", rich_help_panel=_PRINTING),
]
Csv = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write the table as CSV.", rich_help_panel=_PRINTING)
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="ROW",
        help="The row that the others are compared with; default: adamw if it takes part, else the first.",
        rich_help_panel=_PRINTING,
    ),
]
Expect = Annotated[
    list[str] | None,
    typer.Option(
        "--expect",
        metavar="CONDITION",
        help="What must hold, e.g. 'ring.test_accuracy > adamw.test_accuracy - 0.02'; else exit 4. Repeatable.",
        rich_help_panel=_PRINTING,
    ),
]
